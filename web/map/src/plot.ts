// The points, drawn by regl-scatterplot. The view moves its camera; pointing is done here, on all points.
import createScatterplot, { createRenderer, createSpatialIndex } from "regl-scatterplot";
import { type Legend } from "./legend";
import { type View } from "./view";

// What lies below the points, and points that are filtered out.
const PAPER = { light: "#ffffff", dark: "#1c1d20" };
const FADED = { light: "#9a9aa2", dark: "#6c6c74" };
export type Theme = "light" | "dark";

/** A fixed shuffle: points drawn in the order of a folder would hide one class behind the next. */
function shuffled(n: number): Uint32Array {
  const order = Uint32Array.from({ length: n }, (_, i) => i);
  let state = 1;
  for (let i = n - 1; i > 0; i--) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const j = Math.floor((state / 2 ** 32) * (i + 1));
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}

export const pointSize = (n: number): number => Math.min(11, Math.max(2, 22 / n ** 0.18 - 0.4));

/** Whether there is WebGL with what the library needs: places of points are kept in float textures. */
function isSupported(): boolean {
  const gl = document.createElement("canvas").getContext("webgl");
  const is = gl !== null && ["OES_texture_float", "OES_element_index_uint"].every((name) => gl!.getExtension(name));
  gl?.getExtension("WEBGL_lose_context")?.loseContext(); // a page may hold only a few
  return is;
}

export interface Plot {
  paint: (legend: Legend, isShown: Uint8Array, isFiltered: boolean, theme: Theme) => Promise<void>;
  move: (view: View) => void;
  drawn: () => number;
  settled: () => Promise<void>;
  stop: () => void;
}

/** The plot, or null without WebGL. */
export async function createPlot(canvas: HTMLCanvasElement, places: Float32Array): Promise<Plot | null> {
  if (!isSupported()) return null;
  const n = places.length / 2;
  const order = shuffled(n);
  // Pointing is done in `nearest`: the library gets an index without a point of the map, which costs nothing.
  const spatialIndex = await createSpatialIndex([[99, 99]], false);
  const size = pointSize(n);
  // A renderer with a canvas of its own has the size of the map; the library's would have that of the screen.
  const renderer = createRenderer({ canvas: Object.assign(document.createElement("canvas"), { width: 10, height: 10 }) });
  const plot = createScatterplot({
    renderer, canvas, width: 10, height: 10, cameraIsFixed: true, pointSize: size, colorBy: "valueA", opacityBy: "valueA",
    sizeBy: "valueA", deselectOnEscape: false, lassoOnLongPress: false, antiAliasing: 1,
  });
  let busy: Promise<void> = Promise.resolve();
  let wanted = 0;
  let drawn = 0;

  /** Colors by group; what is not shown is gray, faint and below the rest. */
  function paint({ groups, group: groupOf }: Legend, isShown: Uint8Array, isFiltered: boolean, theme: Theme): Promise<void> {
    const request = ++wanted;
    busy = busy.then(async () => {
      if (request !== wanted) return; // a newer one waits
      const faded = groups.length;
      const points: [number, number, number][] = new Array(n);
      let low = 0;
      let high = n - 1;
      // From both ends: the faded first, the shown after, both shuffled; some groups lie below the others.
      const later: number[] = [];
      for (const i of order) {
        const group = groupOf[i];
        if (!isShown[i]) points[low++] = [places[2 * i], places[2 * i + 1], faded];
        else if (groups[group].isBelow) later.push(i);
        else points[high--] = [places[2 * i], places[2 * i + 1], group];
      }
      for (const i of later) points[low++] = [places[2 * i], places[2 * i + 1], groupOf[i]];
      const full = n > 30000 ? 0.65 : n > 3000 ? 0.8 : 0.9;
      const opacity = [...groups.map((entry) => (entry.isOther && !isFiltered ? full * 0.7 : full)), n > 30000 ? 0.08 : 0.14];
      plot.set({
        backgroundColor: PAPER[theme],
        pointColor: [...groups.map((entry) => entry.color), FADED[theme]],
        opacity,
        pointSize: opacity.map((_, g) => (g === faded ? size * 0.8 : isFiltered ? size * 1.15 : size)),
      });
      await plot.draw(points, { spatialIndex, zDataType: "categorical" });
      drawn = points.length;
    });
    return busy;
  }

  /** Follow the view: `scale` is pixels a unit, and the library's unit is half the height. */
  let width = 0;
  let height = 0;
  function move(view: View): void {
    if (view.state.width !== width || view.state.height !== height) {
      ({ width, height } = view.state);
      renderer.resize(width, height);
      plot.set({ width, height });
    }
    const s = view.scale() / (height / 2);
    plot.view([s, 0, 0, 0, 0, s, 0, 0, 0, 0, s, 0, -view.state.x * s, -view.state.y * s, 0, 1]);
  }

  return { paint, move, drawn: () => drawn, settled: () => busy, stop: () => plot.destroy() };
}

/** The shown point nearest to a place on the screen, within `reach` pixels; -1 for none. */
export function nearest(places: Float32Array, isShown: Uint8Array, view: View, px: number, py: number, reach: number): number {
  const [x, y] = view.toPlane(px, py);
  let best = (reach / view.scale()) ** 2;
  let found = -1;
  for (let i = 0; i < isShown.length; i++) {
    const dx = places[2 * i] - x;
    const dy = places[2 * i + 1] - y;
    const d = dx * dx + dy * dy;
    if (d < best && isShown[i]) {
      best = d;
      found = i;
    }
  }
  return found;
}

/** The shown point nearest to another in a direction, at most 45 degrees aside; -1 for none. */
export function beside(places: Float32Array, isShown: Uint8Array, from: number, dx: number, dy: number): number {
  let best = Infinity;
  let found = -1;
  for (let i = 0; i < isShown.length; i++) {
    if (!isShown[i] || i === from) continue;
    const [x, y] = [places[2 * i] - places[2 * from], places[2 * i + 1] - places[2 * from + 1]];
    const along = x * dx + y * dy;
    const aside = Math.abs(x * dy - y * dx);
    // Points in one place are stepped through in their order, or none but the first could be reached.
    if (along === 0 && aside === 0 ? (dx + dy > 0) !== i > from : along <= 0 || aside > along) continue;
    const d = along + 2 * aside;
    if (d < best) {
      best = d;
      found = i;
    }
  }
  return found;
}

/** The shown points inside a line drawn on the screen, closed by its ends. */
export function inside(places: Float32Array, isShown: Uint8Array, view: View, line: [number, number][]): number[] {
  const corners = line.map(([px, py]) => view.toPlane(px, py));
  const [xs, ys] = [corners.map(([x]) => x), corners.map(([, y]) => y)];
  const [x0, x1, y0, y1] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  const found: number[] = [];
  for (let i = 0; i < isShown.length; i++) {
    const [x, y] = [places[2 * i], places[2 * i + 1]];
    if (!isShown[i] || x < x0 || x > x1 || y < y0 || y > y1) continue;
    let isIn = false; // after an odd number of crossings of a ray to the right
    for (let a = 0, b = corners.length - 1; a < corners.length; b = a++) {
      if (ys[a] > y !== ys[b] > y && x < xs[a] + ((y - ys[a]) / (ys[b] - ys[a])) * (xs[b] - xs[a])) isIn = !isIn;
    }
    if (isIn) found.push(i);
  }
  return found;
}
