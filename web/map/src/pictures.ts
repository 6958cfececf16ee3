// Pictures on the map, once few enough points are in view.
import { type MapData } from "./data";
import { type View } from "./view";

const SIZE = 46;
const LIFT = 12; // of a picture that stands for many points, so that it does not hide them
const GAP = 8;
const AREA = 700; // square pixels of map that a point in view has at least, for pictures to be drawn
const KEPT = 1500;

export interface Drawn {
  isShown: Uint8Array;
  isOn: boolean; // whether pictures are wanted
  colorOf: (i: number) => string;
  first: number[];
  always: number[];
  textOf: (i: number) => string;
  selected: readonly number[];
  ink: string;
}

export function createPictures(canvas: HTMLCanvasElement, data: MapData, places: Float32Array, redraw: () => void) {
  const cache = new Map<number, HTMLImageElement | null>();
  const context = canvas.getContext("2d")!;
  let isSelected: { of: readonly number[]; rows: Set<number> } = { of: [], rows: new Set() };

  function image(i: number): HTMLImageElement | null {
    let found = cache.get(i);
    if (found !== undefined) {
      cache.delete(i); // the latest used is last
    } else {
      const address = data.thumbnail(i);
      found = address === null ? null : new Image();
      if (found) {
        found.onload = redraw;
        found.src = address!;
      }
      if (cache.size >= KEPT) cache.delete(cache.keys().next().value!);
    }
    cache.set(i, found);
    return found;
  }

  /** White on dark, in the corner of a picture. */
  function writeOn(text: string, right: number, bottom: number): void {
    context.font = "600 11px system-ui, sans-serif";
    context.textAlign = "right";
    context.textBaseline = "bottom";
    const width = context.measureText(text).width + 6;
    context.fillStyle = "rgba(0, 0, 0, 0.72)";
    context.fillRect(right - width, bottom - 14, width, 14);
    context.fillStyle = "#fff";
    context.fillText(text, right - 3, bottom - 1);
  }

  /** Rings around the selected points; many become dots of one path, which is drawn at once. */
  function markSelected(view: View, selected: readonly number[], ink: string): void {
    const r = selected.length > 2000 ? 2.5 : 5.5;
    context.beginPath();
    for (const i of selected) {
      const [x, y] = view.toScreen(places[2 * i], places[2 * i + 1]);
      if (x < -9 || y < -9 || x > view.state.width + 9 || y > view.state.height + 9) continue;
      context.moveTo(x + r, y);
      context.arc(x, y, r, 0, 2 * Math.PI);
    }
    context.lineWidth = selected.length > 2000 ? 0.8 : 1.6;
    context.strokeStyle = ink;
    context.stroke();
  }

  /**
   * Draws pictures where they do not cover one another: those in `always` first, each with its `textOf`, then those in
   * `first`, then others. Returns how many points are in view, and whether they are too many for pictures of others.
   */
  return function draw(view: View, drawn: Drawn): { count: number; isTooMany: boolean } {
    const { isShown, isOn, colorOf, first, always, textOf, selected, ink } = drawn;
    const ratio = Math.min(2, devicePixelRatio || 1);
    const { width, height } = view.state;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    const [x0, y0] = view.toPlane(0, height);
    const [x1, y1] = view.toPlane(width, 0);
    const most = (width * height) / AREA;
    const isInView = (i: number) => isShown[i] && places[2 * i] >= x0 && places[2 * i] <= x1 && places[2 * i + 1] >= y0 && places[2 * i + 1] <= y1;
    const inView: number[] = [];
    let count = 0;
    for (let i = 0; i < isShown.length; i++) {
      if (isInView(i) && ++count <= most) inView.push(i);
    }
    markSelected(view, selected, ink);
    if (isSelected.of !== selected) isSelected = { of: selected, rows: new Set(selected) };
    if (!isOn) return { count, isTooMany: false };
    const isTooMany = count > most;
    const inViewFirst = new Set([...always.filter(isInView), ...(isTooMany ? [] : [...first.filter(isInView), ...inView])]);
    const taken = new Map<string, [number, number]>();
    const lifted = new Set(always);
    const step = SIZE + GAP;
    const within = (value: number, end: number) => Math.max(step / 2, Math.min(end - step / 2, value));
    for (const i of inViewFirst) {
      const [px, py] = view.toScreen(places[2 * i], places[2 * i + 1]);
      const [sx, sy] = lifted.has(i) ? [within(px, width), within(py - SIZE / 2 - LIFT, height)] : [px, py];
      const [cx, cy] = [Math.floor(sx / step), Math.floor(sy / step)];
      let isFree = true;
      for (let dx = -1; dx <= 1 && isFree; dx++) {
        for (let dy = -1; dy <= 1 && isFree; dy++) {
          const other = taken.get(`${cx + dx},${cy + dy}`);
          if (other && Math.abs(other[0] - sx) < step && Math.abs(other[1] - sy) < step) isFree = false;
        }
      }
      const one = isFree ? image(i) : null;
      if (!one) continue;
      taken.set(`${cx},${cy}`, [sx, sy]);
      if (!one.complete || !one.naturalWidth) continue;
      if (isSelected.rows.has(i)) {
        context.fillStyle = ink;
        context.fillRect(sx - SIZE / 2 - 6, sy - SIZE / 2 - 6, SIZE + 12, SIZE + 12);
      }
      context.fillStyle = context.strokeStyle = colorOf(i);
      if (lifted.has(i)) {
        context.lineWidth = 2;
        context.beginPath();
        context.moveTo(sx, sy);
        context.lineTo(px, py);
        context.stroke();
      }
      context.fillRect(sx - SIZE / 2 - 3, sy - SIZE / 2 - 3, SIZE + 6, SIZE + 6);
      context.drawImage(one, sx - SIZE / 2, sy - SIZE / 2, SIZE, SIZE);
      if (lifted.has(i)) writeOn(textOf(i), sx + SIZE / 2, sy + SIZE / 2);
    }
    return { count, isTooMany };
  };
}
