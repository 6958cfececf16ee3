// Pictures on the map, once few enough points are in view.
import { picture } from "./data.js";

const SIZE = 46;
const LIFT = 12; // of a picture that stands for many points, so that it does not hide them
const GAP = 8;
const AREA = 700; // square pixels of map that a point in view has at least, for pictures to be drawn
const KEPT = 1500;

export function createPictures(canvas, data, places, redraw) {
  const cache = new Map();
  const context = canvas.getContext("2d");

  function image(i) {
    let found = cache.get(i);
    if (found) {
      cache.delete(i); // the latest used is last
    } else {
      found = new Image();
      found.onload = redraw;
      found.src = picture(data, i);
      if (cache.size >= KEPT) cache.delete(cache.keys().next().value);
    }
    cache.set(i, found);
    return found;
  }

  /** White on dark, in the corner of a picture. */
  function writeOn(text, right, bottom) {
    context.font = "600 11px system-ui, sans-serif";
    context.textAlign = "right";
    context.textBaseline = "bottom";
    const width = context.measureText(text).width + 6;
    context.fillStyle = "rgba(0, 0, 0, 0.72)";
    context.fillRect(right - width, bottom - 14, width, 14);
    context.fillStyle = "#fff";
    context.fillText(text, right - 3, bottom - 1);
  }

  /**
   * Draws pictures where they do not cover one another: those in `always` first, each with its `textOf`, then those in
   * `first`, then others. Returns how many points are in view, and whether they are too many for pictures of others.
   */
  return function draw(view, isShown, isOn, colorOf, first, always, textOf) {
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
    const isInView = (i) => isShown[i] && places[2 * i] >= x0 && places[2 * i] <= x1 && places[2 * i + 1] >= y0 && places[2 * i + 1] <= y1;
    const inView = [];
    let count = 0;
    for (let i = 0; i < isShown.length; i++) {
      if (isInView(i) && ++count <= most) inView.push(i);
    }
    if (!isOn || !data.offsets) return { count, isTooMany: false };
    const isTooMany = count > most;
    const inViewFirst = new Set([...always.filter(isInView), ...(isTooMany ? [] : [...first.filter(isInView), ...inView])]);
    const taken = new Map();
    const lifted = new Set(always);
    const step = SIZE + GAP;
    const within = (value, end) => Math.max(step / 2, Math.min(end - step / 2, value));
    for (const i of inViewFirst) {
      if (data.offsets[i] === data.offsets[i + 1]) continue;
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
      if (!isFree) continue;
      taken.set(`${cx},${cy}`, [sx, sy]);
      const one = image(i);
      if (!one.complete || !one.naturalWidth) continue;
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
