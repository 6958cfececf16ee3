// What is drawn over the points: lines from the chosen one to its neighbors, and rings around them.
import { type Near } from "./data";
import { type View } from "./view";

export function renderLinks(svg: SVGElement, view: View, places: Float32Array, chosen: number, found: Near[], pointed: number): void {
  svg.replaceChildren();
  const draw = (tag: string, attributes: Record<string, string | number>): Element => {
    const element = svg.ownerDocument.createElementNS(svg.namespaceURI, tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
    svg.append(element);
    return element;
  };
  const at = (i: number) => view.toScreen(places[2 * i], places[2 * i + 1]);
  if (chosen >= 0) {
    const [x, y] = at(chosen);
    for (const { row } of found) {
      const [u, v] = at(row);
      draw("line", { x1: x, y1: y, x2: u, y2: v, class: row === pointed ? "is-pointed" : "" });
    }
    // Its rank where there is room, a dot where it would cover a nearer one's; what is pointed at always has it.
    const spots = [[x, y]];
    const marks = found.map(({ row, isInBoth }, rank) => {
      const [u, v] = at(row);
      const hasRoom = row === pointed || spots.every(([a, b]) => Math.hypot(a - u, b - v) > 17);
      if (hasRoom) spots.push([u, v]);
      return { u, v, rank, hasRoom, kind: `near${isInBoth ? " is-in-both" : ""}${row === pointed ? " is-pointed" : ""}` };
    });
    for (const { u, v, kind } of marks.filter(({ hasRoom }) => !hasRoom)) draw("circle", { cx: u, cy: v, r: 4, class: kind });
    for (const { u, v, rank, kind } of marks.filter(({ hasRoom }) => hasRoom)) {
      draw("circle", { cx: u, cy: v, r: 9, class: kind });
      draw("text", { x: u, y: v }).textContent = String(rank + 1);
    }
    draw("circle", { cx: x, cy: y, r: 8, class: "chosen" });
  }
  if (pointed >= 0 && pointed !== chosen && !found.some(({ row }) => row === pointed)) {
    const [x, y] = at(pointed);
    draw("circle", { cx: x, cy: y, r: 8, class: "pointed" });
  }
}
