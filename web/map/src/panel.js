// The side panel and the tip. Text from outside goes in as text, never as HTML.
import { CAME_LATER, clusterName, folderOf, isWrong, neighborsOf, picture, shortName, word } from "./data.js";

const isThere = (child) => child !== null && child !== undefined && child !== false;

export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "onclick") element.addEventListener("click", value);
    else if (name === "color") element.style.background = value;
    else if (value === true) element.setAttribute(name, "");
    else if (value !== null && value !== false && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter(isThere));
  return element;
}

/** Put these in place of what an element holds. The browser would write out a null as a word. */
function fill(element, ...children) {
  element.replaceChildren(...children.filter(isThere));
}

export const grouped = (n) => n.toLocaleString("en");

export function thumb(data, i) {
  const uri = picture(data, i);
  return uri
    ? make("img", { class: "thumb", src: uri, alt: "", width: 64, height: 64 })
    : make("span", { class: "thumb is-missing", "aria-hidden": "true" }, "no picture");
}

function probability(data, i) {
  const p = data.probability?.[i];
  if (!Number.isFinite(p)) return "";
  return p < 1 && p >= 0.9995 ? " > 99.9\u00a0%" : p < 0.0005 ? " < 0.1\u00a0%" : ` ${(100 * p).toFixed(p === 1 ? 0 : 1)}\u00a0%`;
}

/** Label, prediction, cluster and folder of a point: all that the search looks at. */
export function describe(data, i) {
  const label = word(data, data.labels[i]);
  const lines = make("dl", { class: "lines" });
  const add = (term, text, kind) => lines.append(make("div", {}, make("dt", {}, term), make("dd", { class: kind }, text)));
  if (label !== null || data.predicted) add("label", label ?? "none", label === null ? "soft" : null);
  if (data.predicted) {
    const predicted = word(data, data.predicted[i]);
    const wrong = isWrong(data, i);
    add("predicted", `${wrong ? "≠ " : ""}${predicted ?? "none"}${predicted === null ? "" : probability(data, i)}`, wrong ? "wrong" : null);
  }
  if (data.clusters) add("cluster", data.clusters[i] >= 0 ? String(data.clusters[i]) : data.clusters[i] === CAME_LATER ? clusterName(CAME_LATER) : "none", null);
  const folder = folderOf(data.names[i]);
  if (folder && folder !== label) add("folder", folder, null);
  return lines;
}

export function renderTip(tip, data, i) {
  fill(tip, thumb(data, i), make("div", {}, make("strong", {}, shortName(data.names[i])), describe(data, i)));
}

/** `shown` counts the points of each group that pass search and filter. */
export function renderLegend(element, mode, isolated, shown, onToggle) {
  fill(element,
    make("ul", { class: "legend" }, ...mode.groups.map((entry, g) => entry.count > 0 &&
      make("li", {}, make("button", {
        type: "button", "aria-pressed": String(isolated.has(g)), class: isolated.size && !isolated.has(g) ? "is-off" : null,
        title: "Show only these; hold Shift to add or remove",
        onclick: (event) => onToggle(g, event.shiftKey || event.ctrlKey || event.metaKey),
      }, make("span", { class: "swatch", color: entry.color() }), make("span", { class: "name" }, entry.name),
      make("span", { class: "count" }, shown[g] < entry.count ? `${grouped(shown[g])} / ${grouped(entry.count)}` : grouped(entry.count)))))),
    isolated.size > 0 && make("button", { type: "button", class: "link", onclick: () => onToggle(null) }, "Show all"),
  );
}

export function renderFound(element, data, matches, total, onSelect) {
  element.hidden = total === null;
  if (total === null) return fill(element);
  return fill(element,
    make("p", { class: "soft", role: "status" }, total === 0 ? "No image matches by name, label, prediction or cluster." :
      `${grouped(total)} ${total === 1 ? "image" : "images"}${total > matches.length ? `, the first ${matches.length} listed` : ""}`),
    make("ol", { class: "matches" }, ...matches.map((i) => make("li", {}, make("button", { type: "button", "data-row": i, onclick: () => onSelect(i) },
      thumb(data, i), make("span", { class: "name" }, shortName(data.names[i])),
      make("span", { class: "soft" }, word(data, data.labels[i]) ?? ""))))),
  );
}

export function renderSelection(element, data, i, { onSelect, onClose, onFit, onPoint }) {
  element.hidden = i < 0;
  if (i < 0) return fill(element);
  const found = data.k ? neighborsOf(data, i) : [];
  const labeled = found.filter(({ row }) => data.labels[row] >= 0);
  const nSame = labeled.filter(({ row }) => data.labels[row] === data.labels[i]).length;
  const hasLabel = data.labels[i] >= 0;
  const item = ({ row, score }, rank) => {
    const label = word(data, data.labels[row]);
    const differs = hasLabel && label !== null && data.labels[row] !== data.labels[i];
    const button = make("button", {
      type: "button", "data-row": row, class: differs ? "is-other" : null, title: data.names[row], onclick: () => onSelect(row),
    }, make("span", { class: "rank" }, String(rank + 1)), thumb(data, row),
    make("span", { class: "name" }, `${differs ? "≠ " : ""}${label ?? shortName(data.names[row])}`),
    Number.isFinite(score) ? make("span", { class: "score" }, score.toFixed(3)) : null);
    for (const [type, at] of [["pointerenter", row], ["focus", row], ["pointerleave", -1], ["blur", -1]]) {
      button.addEventListener(type, () => onPoint(at));
    }
    return make("li", {}, button);
  };
  const { measure } = element.dataset;
  return fill(element,
    make("div", { class: "chosen" }, thumb(data, i),
      make("div", { class: "about" }, make("h2", { title: data.names[i] }, shortName(data.names[i])), describe(data, i)),
      make("button", { type: "button", class: "close", "aria-label": "Clear the selection", title: "Clear (Esc)", onclick: onClose }, "×")),
    found.length ? make("div", { class: "nearest-head" },
      make("h3", {}, "Nearest in the vectors"),
      make("button", { type: "button", class: "link", onclick: onFit }, "Zoom to them")) : null,
    found.length && measure ? make("p", { class: "soft" }, `The number: ${measure}.`) : null,
    labeled.length && hasLabel ? make("p", { class: "soft" },
      `${nSame} of ${labeled.length}${labeled.length < found.length ? " that have a label" : ""} have the same label.`) : null,
    found.length ? make("ol", { class: "nearest" }, ...found.map(item)) : null,
  );
}

/** Lines from the selected point to its neighbors, and rings around them. */
export function renderLinks(svg, view, places, chosen, found, pointed) {
  svg.replaceChildren();
  const draw = (tag, attributes) => {
    const element = svg.ownerDocument.createElementNS(svg.namespaceURI, tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    svg.append(element);
    return element;
  };
  const at = (i) => view.toScreen(places[2 * i], places[2 * i + 1]);
  if (chosen >= 0) {
    const [x, y] = at(chosen);
    for (const { row } of found) {
      const [u, v] = at(row);
      draw("line", { x1: x, y1: y, x2: u, y2: v, class: row === pointed ? "is-pointed" : "" });
    }
    // Its rank where there is room, a dot where it would cover a nearer one's; what is pointed at always has it.
    const spots = [[x, y]];
    const marks = found.map(({ row }, rank) => {
      const [u, v] = at(row);
      const hasRoom = row === pointed || spots.every(([a, b]) => Math.hypot(a - u, b - v) > 17);
      if (hasRoom) spots.push([u, v]);
      return { u, v, rank, hasRoom, kind: row === pointed ? "near is-pointed" : "near" };
    });
    for (const { u, v, kind } of marks.filter(({ hasRoom }) => !hasRoom)) draw("circle", { cx: u, cy: v, r: 4, class: kind });
    for (const { u, v, rank, kind } of marks.filter(({ hasRoom }) => hasRoom)) {
      draw("circle", { cx: u, cy: v, r: 9, class: kind });
      draw("text", { x: u, y: v }).textContent = rank + 1;
    }
    draw("circle", { cx: x, cy: y, r: 8, class: "chosen" });
  }
  if (pointed >= 0 && pointed !== chosen && !found.some(({ row }) => row === pointed)) {
    const [x, y] = at(pointed);
    draw("circle", { cx: x, cy: y, r: 8, class: "pointed" });
  }
}
