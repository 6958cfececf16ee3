import "./map.css";
import { colorModes, onThemeChange } from "./colors.js";
import { neighborsOf, readData } from "./data.js";
import { createSearch } from "./search.js";
import { grouped, make, renderFound, renderLegend, renderLinks, renderSelection, renderTip } from "./panel.js";
import { createPictures } from "./pictures.js";
import { createPlot, nearest, pointSize } from "./plot.js";
import { createView, unitPlaces } from "./view.js";

const LISTED = 40;
const element = (id) => document.getElementById(id);
const root = document.documentElement;

async function start() {
  const data = readData();
  const { places, extent } = unitPlaces(data.coordinates);
  const modes = colorModes(data);
  const isShown = new Uint8Array(data.count).fill(1);
  const state = { mode: modes[0], isolated: new Set(), matches: null, chosen: -1, found: [], pointed: -1, withPictures: true };
  let plot = null;
  let isWaiting = false;
  let nShown = data.count;

  const representatives = data.representatives ? [...data.representatives] : [];
  const sizes = new Map(); // cluster -> how many of its points are shown
  const place = (i) => [places[2 * i], places[2 * i + 1]];
  const colorOf = (i) => state.mode.groups[state.mode.group[i]].color();

  // A frame draws everything once, however often it was asked for.
  function refresh() {
    if (isWaiting) return;
    isWaiting = true;
    requestAnimationFrame(frame);
  }
  function frame() {
    isWaiting = false;
    plot?.move(view);
    const middles = state.mode.id === "cluster" ? representatives : [];
    const first = [state.chosen, ...state.found.map(({ row }) => row)].filter((i) => i >= 0);
    const textOf = (i) => grouped(sizes.get(data.clusters[i]) ?? 0);
    const { count, isTooMany } = drawPictures(view, isShown, state.withPictures, colorOf, first, middles, textOf);
    renderLinks(element("links"), view, places, state.chosen, state.found, state.pointed);
    const all = `${grouped(data.count)} images`;
    const shown = nShown < data.count ? `${grouped(nShown)} of ${all} shown` : all;
    element("status").textContent = `${shown}${count < nShown ? `, ${grouped(count)} in view` : ""}${isTooMany ? ` · zoom in for ${middles.length ? "more " : ""}pictures` : ""}`;
  }

  const view = createView(element("surface"), extent, { onChange: refresh, onHover: hover, onClick: click });
  const drawPictures = createPictures(element("pictures"), data, places, refresh);
  const reach = (kind) => Math.max(kind === "touch" ? 22 : 10, pointSize(data.count));

  function hover(px, py) {
    const i = px < 0 ? -1 : nearest(places, isShown, view, px, py, reach("mouse"));
    element("surface").classList.toggle("is-over", i >= 0);
    const tip = element("tip");
    if (i !== state.pointed) {
      state.pointed = i;
      tip.hidden = i < 0;
      if (i >= 0) renderTip(tip, data, i);
      refresh();
    }
    if (i < 0) return;
    const [x, y] = view.toScreen(...place(i));
    const { offsetWidth, offsetHeight } = tip;
    const left = x + 14 + offsetWidth > view.state.width ? x - 14 - offsetWidth : x + 14;
    tip.style.left = `${Math.max(4, left)}px`;
    tip.style.top = `${Math.max(4, Math.min(view.state.height - offsetHeight - 4, y - offsetHeight / 2))}px`;
  }

  function click(px, py, kind) {
    select(nearest(places, isShown, view, px, py, reach(kind)));
    if (kind === "touch") element("tip").hidden = true;
  }

  /** Choose a point, -1 for none; with `go`, bring it into view if it is not. */
  function select(i, go = false) {
    state.chosen = i;
    state.found = i >= 0 && data.k ? neighborsOf(data, i) : [];
    state.pointed = -1;
    element("tip").hidden = true;
    renderSelection(element("selection"), data, i, {
      onSelect: (row) => select(row, true),
      onClose: () => select(-1),
      onFit: () => view.fit([place(i), ...state.found.map(({ row }) => place(row))]),
      onPoint: (row) => { state.pointed = row; refresh(); },
    });
    if (i >= 0 && go) {
      const [x, y] = view.toScreen(...place(i));
      if (x < 40 || y < 40 || x > view.state.width - 40 || y > view.state.height - 40) {
        view.glide(...place(i), Math.max(1, view.state.zoom));
      }
    }
    root.dataset.selected = i;
    refresh();
  }

  function repaint() {
    nShown = 0;
    sizes.clear();
    const counts = new Uint32Array(state.mode.groups.length);
    for (let i = 0; i < data.count; i++) {
      const group = state.mode.group[i];
      isShown[i] = (!state.isolated.size || state.isolated.has(group)) && (!state.matches || state.matches[i]) ? 1 : 0;
      nShown += isShown[i];
      counts[group] += isShown[i];
      if (isShown[i] && data.clusters) sizes.set(data.clusters[i], (sizes.get(data.clusters[i]) ?? 0) + 1);
    }
    renderLegend(element("legend"), state.mode, state.isolated, counts, toggle);
    refresh();
    // The view may have moved or changed its size while the points were being painted.
    return plot?.paint(state.mode, isShown, state.isolated.size > 0 || state.matches !== null).then(refresh);
  }

  function toggle(group, isAdding) {
    const { isolated } = state;
    const wasOnly = isolated.size === 1 && isolated.has(group);
    if (group === null || (wasOnly && !isAdding)) isolated.clear();
    else if (isAdding) isolated.has(group) ? isolated.delete(group) : isolated.add(group);
    else {
      isolated.clear();
      isolated.add(group);
    }
    const place = [...element("legend").querySelectorAll("button")].indexOf(document.activeElement);
    repaint();
    if (place >= 0) element("legend").querySelectorAll("button")[place]?.focus(); // the legend was made anew
  }

  function setMode(mode) {
    state.mode = mode;
    state.isolated.clear();
    for (const button of element("modes").children) button.setAttribute("aria-pressed", String(button.value === mode.id));
    return repaint();
  }

  const matches = createSearch(data);
  function search() {
    state.matches = matches(element("query").value);
    if (!state.matches) {
      renderFound(element("found"), data, [], null, select);
      repaint();
      return;
    }
    const first = [];
    let total = 0;
    for (let i = 0; i < data.count; i++) {
      if (!state.matches[i]) continue;
      if (++total <= LISTED) first.push(i);
    }
    renderFound(element("found"), data, first, total, (i) => select(i, true));
    repaint();
  }

  let delay = 0;
  element("query").addEventListener("input", () => { clearTimeout(delay); delay = setTimeout(search, 120); });
  element("query").addEventListener("keydown", (event) => {
    if (event.key === "Enter") {
      clearTimeout(delay);
      search();
      const first = element("found").querySelector("button");
      if (first) select(Number(first.dataset.row), true);
    }
  });
  document.addEventListener("keydown", (event) => {
    const isTyping = event.target === element("query");
    if (event.key === "/" && !isTyping) {
      event.preventDefault();
      element("query").focus();
    } else if (event.key === "Escape") {
      if (isTyping && element("query").value) { element("query").value = ""; search(); }
      else if (state.chosen >= 0) select(-1);
      else if (state.isolated.size) toggle(null);
    }
  });
  element("zoom-in").addEventListener("click", () => view.zoomBy(1.6));
  element("zoom-out").addEventListener("click", () => view.zoomBy(1 / 1.6));
  element("reset").addEventListener("click", view.reset);
  element("show-pictures").hidden = !data.offsets;
  element("show-pictures").addEventListener("click", (event) => {
    state.withPictures = !state.withPictures;
    event.currentTarget.setAttribute("aria-pressed", String(state.withPictures));
    refresh();
  });
  element("modes").append(...modes.map((mode) => make("button", { type: "button", value: mode.id, onclick: () => setMode(mode) }, mode.title)));
  onThemeChange(repaint);

  try {
    plot = await createPlot(element("points"), places);
  } catch (error) {
    console.error(error);
  }
  if (!plot) {
    const message = element("message");
    message.hidden = false;
    message.append(make("strong", {}, "The map cannot be drawn: "), "this browser has no WebGL, or lacks a part of it that the map needs. Search and the nearest images still work. To see the map, use another browser, or turn on hardware acceleration in this browser's settings.");
  }
  await setMode(modes[0]);
  addEventListener("hashchange", fromAddress);
  fromAddress();

  /** map.html#point=17 opens with that point chosen, #color=error with those colors, #find=cat with a search. */
  function fromAddress() {
    const given = new URLSearchParams(location.hash.slice(1));
    const mode = modes.find(({ id }) => id === given.get("color"));
    if (mode) setMode(mode);
    if (given.has("find")) { element("query").value = given.get("find"); search(); }
    const i = given.has("point") ? Number(given.get("point")) : NaN;
    if (Number.isInteger(i) && i >= 0 && i < data.count) select(i, true);
    if (given.has("near") && state.chosen >= 0) view.fit([place(state.chosen), ...state.found.map(({ row }) => place(row))]);
  }

  // For scripts and tests.
  window.convscopeMap = {
    view,
    select: (i) => select(i, true),
    placeOf: place,
    lookAt: (i) => view.set(...place(i), 100),
  };
  await plot?.settled();
  root.dataset.drawn = plot ? plot.drawn() : 0;
  root.dataset.ready = "yes";
}

start().catch((error) => {
  const message = element("message");
  message.hidden = false;
  message.textContent = `The map could not be shown: ${error.message}`;
  throw error;
});
