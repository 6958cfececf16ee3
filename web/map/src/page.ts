// map.html: reads the data out of the page, and shows the component.
import "./map.css";
import { flushSync, mount } from "svelte";
import { type Column, type MapData } from "./data";
import PointMap from "./PointMap.svelte";

/** The text of an element, which is then removed, so that it is kept only once. */
function take(name: string): string | null {
  const element = document.getElementById(`data-${name}`);
  element?.remove();
  return element?.textContent ?? null;
}

/** Little-endian numbers in base64. */
function array<T>(name: string, Kind: new (buffer: ArrayBuffer) => T): T | null {
  const text = take(name);
  if (text === null) return null;
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return new Kind(bytes.buffer);
}

/** Pictures are slices of one string, each decoded only when it is seen. */
function pictures(offsets: Uint32Array | null, text: string | null): (i: number) => string | null {
  if (!offsets || text === null) return () => null;
  return (i) => (offsets[i] === offsets[i + 1] ? null : `data:image/jpeg;base64,${text.slice(offsets[i], offsets[i + 1])}`);
}

function readPage(): MapData {
  const { names, columns, titles, ...rest } = JSON.parse(take("texts")!);
  const sides = ["", "-b"].filter((end) => document.getElementById(`data-coordinates${end}`)).map((end, i) => {
    const neighbors = array(`neighbors${end}`, Int32Array);
    return {
      title: titles[i] ?? "", coordinates: array(`coordinates${end}`, Float32Array)!, neighbors,
      k: neighbors ? neighbors.length / names.length : 0, scores: array(`scores${end}`, Float32Array),
    };
  });
  const offsets = array("offsets", Uint32Array);
  return {
    ...rest,
    notes: JSON.parse(take("notes")!),
    names,
    count: names.length,
    sides,
    columns: columns.map((column: Column, i: number) => ({
      ...column,
      codes: column.values && array(`column-${i}`, Int32Array)!,
      numbers: column.values ? undefined : array(`column-${i}`, Float32Array)!,
    })),
    representatives: array("representatives", Int32Array),
    hasThumbnails: offsets !== null,
    thumbnail: pictures(offsets, take("pictures")),
    picture: pictures(array("larger-offsets", Uint32Array), take("larger")),
  };
}

const root = document.documentElement;

function start(): void {
  const data = readPage();
  const place = document.getElementById("map")!;
  const map = mount(PointMap, {
    target: place.shadowRoot ?? place, // in a page with a style of its own, the map has one apart
    props: {
      data,
      isInPage: place.shadowRoot !== null,
      title: document.title,
      onchoose: (i: number) => { root.dataset.chosen = String(i); },
      onready: (drawn: number) => {
        root.dataset.drawn = String(drawn);
        fromAddress();
        root.dataset.ready = "yes";
      },
    },
  });
  // For scripts and tests.
  flushSync();
  Object.assign(window, { convscopeMap: { ...map.api(), choose: map.choose, select: map.select } });
  const follow = () => {
    fromAddress();
    if (place.shadowRoot) place.scrollIntoView();
  };
  addEventListener("hashchange", follow);
  addEventListener("click", ({ target }) => { // a link to where the address is already
    const link = (target as Element).closest("a");
    if (link?.hash && link.hash === location.hash) follow();
  });

  /** map.html#point=17 opens with that point chosen, #color=error with those colors, #find=cat with a search. */
  function fromAddress(): void {
    const given = new URLSearchParams(location.hash.slice(1));
    if (given.has("color")) map.colorBy(given.get("color")!);
    if (given.has("find")) map.find(given.get("find")!);
    const i = given.has("point") ? Number(given.get("point")) : NaN;
    if (!(Number.isInteger(i) && i >= 0 && i < data.count)) return;
    map.choose(i);
    flushSync();
    if (given.has("near")) map.fitNeighbors();
  }
}

try {
  start();
} catch (error) {
  const failure = document.getElementById("failure")!;
  failure.hidden = false;
  failure.textContent = `The map could not be shown: ${(error as Error).message}`;
  throw error;
}
