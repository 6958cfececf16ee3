// Where the map is looked at from: one scale and one center, moved by mouse, touch, pen and keys alike.

export type Place = [x: number, y: number];
export type PointerKind = string; // of a PointerEvent: "mouse", "touch", "pen" or what comes next
export interface ViewState { x: number; y: number; zoom: number; width: number; height: number; base: number }

export interface View {
  state: ViewState;
  scale: () => number; // pixels a unit
  toScreen: (x: number, y: number) => Place;
  toPlane: (px: number, py: number) => Place;
  set: (x: number, y: number, zoom: number) => void;
  fit: (list: Place[], most?: number) => void;
  glide: (x: number, y: number, zoom: number) => void;
  zoomBy: (factor: number) => void;
  reset: () => void;
  stop: () => void; // forget the surface
}

interface Callbacks {
  onChange: () => void;
  onHover: (px: number, py: number) => void; // negative for nowhere
  onClick: (px: number, py: number, kind: PointerKind, isAdding: boolean) => void;
  isWheelFree: () => boolean; // whether the wheel scrolls the page, unless the map has the focus or Ctrl is held
  isLassoing: () => boolean; // whether a drag draws a line around points
  onLine: (line: Place[]) => void; // while it is drawn
  onLasso: (line: Place[], isAdding: boolean) => void;
  onArrow: (dx: number, dy: number) => boolean; // whether it was used; the view moves if not
}

const MAX_ZOOM = 400;

/** Points in [-1, 1] around the middle, equally scaled in both directions. */
export function unitPlaces(coordinates: Float32Array): { places: Float32Array; extent: Place } {
  const low = [Infinity, Infinity];
  const high = [-Infinity, -Infinity];
  for (let i = 0; i < coordinates.length; i++) {
    const c = coordinates[i];
    if (c < low[i & 1]) low[i & 1] = c;
    if (c > high[i & 1]) high[i & 1] = c;
  }
  const half = Math.max(high[0] - low[0], high[1] - low[1]) / 2 || 1;
  const middle = [(low[0] + high[0]) / 2, (low[1] + high[1]) / 2];
  const extent: Place = [(high[0] - low[0]) / 2 / half, (high[1] - low[1]) / 2 / half];
  return { places: Float32Array.from(coordinates, (c, i) => (c - middle[i & 1]) / half), extent };
}

export function createView(surface: HTMLElement, extent: Place, calls: Callbacks): View {
  const { onChange, onHover, onClick, isWheelFree, isLassoing, onLine, onLasso, onArrow } = calls;
  const state: ViewState = { x: 0, y: 0, zoom: 1, width: 1, height: 1, base: 1 };
  const pointers = new Map<number, Place>();
  let travel = 0;
  let animation = 0;
  let moved: Place | null = null;
  let line: Place[] | null = null;

  const scale = () => state.base * state.zoom; // pixels a unit
  const toScreen = (x: number, y: number): Place => [state.width / 2 + (x - state.x) * scale(), state.height / 2 - (y - state.y) * scale()];
  const toPlane = (px: number, py: number): Place => [state.x + (px - state.width / 2) / scale(), state.y - (py - state.height / 2) / scale()];

  function set(x: number, y: number, zoom: number): void {
    state.zoom = Math.min(MAX_ZOOM, Math.max(0.5, zoom));
    state.x = Math.min(1.2, Math.max(-1.2, x));
    state.y = Math.min(1.2, Math.max(-1.2, y));
    onChange();
  }

  function resize(): void {
    const box = surface.getBoundingClientRect();
    state.width = Math.max(1, box.width);
    state.height = Math.max(1, box.height);
    const room = (size: number) => Math.min(0.46 * size, Math.max(0.3 * size, size / 2 - 34)); // for half a picture at the border
    state.base = Math.min(room(state.width) / Math.max(extent[0], 0.05), room(state.height) / Math.max(extent[1], 0.05));
    onChange();
  }

  function zoomAt(px: number, py: number, factor: number): void {
    const [x, y] = toPlane(px, py);
    const zoom = Math.min(MAX_ZOOM, Math.max(0.5, state.zoom * factor));
    const after = state.base * zoom;
    set(x - (px - state.width / 2) / after, y + (py - state.height / 2) / after, zoom);
  }

  function glide(x: number, y: number, zoom: number): void {
    cancelAnimationFrame(animation);
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) return set(x, y, zoom);
    const from = { ...state };
    const start = performance.now();
    const step = (now: number) => {
      const t = Math.min(1, Math.max(0, (now - start) / 350));
      const e = t * t * (3 - 2 * t);
      set(from.x + (x - from.x) * e, from.y + (y - from.y) * e, from.zoom * (zoom / from.zoom) ** e);
      if (t < 1) animation = requestAnimationFrame(step);
    };
    animation = requestAnimationFrame(step);
  }

  /** Move so that these places are seen with a margin. */
  function fit(list: Place[], most = 60): void {
    let [x0, y0, x1, y1] = [Infinity, Infinity, -Infinity, -Infinity];
    for (const [x, y] of list) {
      x0 = Math.min(x0, x); x1 = Math.max(x1, x); y0 = Math.min(y0, y); y1 = Math.max(y1, y);
    }
    const need = Math.max((x1 - x0) / state.width, (y1 - y0) / state.height, 1e-9) * state.base;
    glide((x0 + x1) / 2, (y0 + y1) / 2, Math.min(most, 0.75 / need));
  }

  const local = (event: MouseEvent): Place => {
    const box = surface.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };

  surface.addEventListener("pointerdown", (event) => {
    if (event.button > 0) return;
    cancelAnimationFrame(animation);
    surface.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, local(event));
    travel = pointers.size > 1 ? Infinity : 0;
    line = pointers.size === 1 && (isLassoing() || event.shiftKey) ? [local(event)] : null; // two fingers zoom
    if (!line) onLine([]);
  });
  surface.addEventListener("pointermove", (event) => {
    const at = local(event);
    const before = pointers.get(event.pointerId);
    if (!before) {
      if (event.pointerType !== "touch") {
        if (!moved) requestAnimationFrame(() => { if (moved) onHover(...moved); moved = null; });
        moved = at;
      }
      return;
    }
    if (line) {
      const last = line[line.length - 1];
      const length = Math.hypot(at[0] - last[0], at[1] - last[1]);
      if (length > 3) {
        travel += length;
        line.push(at);
        onLine(line);
      }
    } else if (pointers.size === 1) {
      travel += Math.hypot(at[0] - before[0], at[1] - before[1]);
      if (travel > 4) {
        surface.classList.add("is-dragged");
        set(state.x - (at[0] - before[0]) / scale(), state.y + (at[1] - before[1]) / scale(), state.zoom);
      } else return; // the small move is kept, to be made up for once it is a drag
    } else if (pointers.size === 2) {
      const other = [...pointers].find(([id]) => id !== event.pointerId)![1];
      const spread = (a: Place) => Math.max(10, Math.hypot(a[0] - other[0], a[1] - other[1]));
      const shift = [(at[0] - before[0]) / 2, (at[1] - before[1]) / 2];
      set(state.x - shift[0] / scale(), state.y + shift[1] / scale(), state.zoom);
      zoomAt((at[0] + other[0]) / 2, (at[1] + other[1]) / 2, spread(at) / spread(before));
    }
    pointers.set(event.pointerId, at);
  });
  const release = (event: PointerEvent) => {
    if (!pointers.delete(event.pointerId)) return;
    if (!pointers.size) surface.classList.remove("is-dragged");
    const drawn = line;
    line = null;
    if (drawn) onLine([]);
    if (event.type !== "pointerup") return;
    if (travel <= 4) onClick(...local(event), event.pointerType, event.shiftKey);
    else if (drawn) onLasso(drawn, event.shiftKey);
  };
  surface.addEventListener("pointerup", release);
  surface.addEventListener("pointercancel", release);
  surface.addEventListener("pointerleave", () => { moved = null; onHover(-1, -1); });
  surface.addEventListener("wheel", (event) => {
    if (isWheelFree() && !event.ctrlKey && !surface.matches(":focus")) return;
    event.preventDefault();
    cancelAnimationFrame(animation);
    const lines = event.deltaMode === 1 ? 16 : 1;
    zoomAt(...local(event), Math.exp(-Math.max(-240, Math.min(240, event.deltaY * lines)) / (event.ctrlKey ? 100 : 400)));
  }, { passive: false });

  const zoomBy = (factor: number) => glide(state.x, state.y, state.zoom * factor);
  const reset = () => glide(0, 0, 1);
  surface.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const step = 60 / scale();
    const arrows: Record<string, Place> = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
    if (event.key in arrows && !event.shiftKey && onArrow(...arrows[event.key])) return event.preventDefault();
    const moves: Record<string, () => void> = {
      ArrowLeft: () => set(state.x - step, state.y, state.zoom),
      ArrowRight: () => set(state.x + step, state.y, state.zoom),
      ArrowUp: () => set(state.x, state.y + step, state.zoom),
      ArrowDown: () => set(state.x, state.y - step, state.zoom),
      "+": () => zoomBy(1.6), "=": () => zoomBy(1.6), "-": () => zoomBy(1 / 1.6), 0: reset,
    };
    if (moves[event.key]) {
      event.preventDefault();
      moves[event.key]();
    }
  });
  const observer = new ResizeObserver(resize);
  observer.observe(surface);
  resize();
  const stop = () => { cancelAnimationFrame(animation); observer.disconnect(); };
  return { state, scale, toScreen, toPlane, set, fit, glide, zoomBy, reset, stop };
}
