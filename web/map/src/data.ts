// What the map shows. A user of the component gives this; map.html reads it out of its page, see page.ts.

/** One thing that is known of each point. Either `values` with `codes`, or `numbers`. */
export interface Column {
  id: string;
  title: string;
  values?: string[];
  codes?: Int32Array; // (N,) places in `values`, -1 for none
  colors?: (string | null)[]; // one for each value; values with null are the legend's "others"
  quiet?: number[]; // values that are drawn below the rest, and that a search does not find
  none?: string; // what the legend calls points without a value
  isSearched?: boolean;
  numbers?: Float32Array; // (N,), NaN for none
}

/** One map of the points: their places, and the nearest of each in the vectors that it was made from. */
export interface Side {
  title: string; // empty where there is one map
  coordinates: Float32Array; // (N, 2); only relative distances matter
  neighbors: Int32Array | null; // (N, k) points, nearest first, negative where there are fewer
  scores: Float32Array | null; // (N, k)
  k: number;
}

export interface MapData {
  count: number;
  names: string[];
  sides: Side[]; // one map, or two of the same points
  columns: Column[]; // in the order in which they are offered; "label", "predicted", "error" and "cluster" have a role
  representatives: Int32Array | null; // points whose thumbnails stand for their clusters at every zoom
  measure: string; // what the scores are
  ramp: string[]; // colors of numbers, from low to high
  other: string; // the color of the others
  notes: string[]; // shown below the legend
  hasThumbnails: boolean; // of any point
  thumbnail: (i: number) => string | null; // an address, such as a data URI
  picture?: (i: number) => string | null; // a larger one, for the card
}

export const columnOf = (data: MapData, id: string): Column | undefined => data.columns.find((one) => one.id === id);

/** What a column says of a point, as text; null for nothing. */
export function textOf(column: Column | undefined, i: number): string | null {
  if (column?.codes) return column.values![column.codes[i]] ?? null;
  const number = column?.numbers?.[i];
  return number === undefined || Number.isNaN(number) ? null : written(column!, number);
}

/** A number in four digits; a probability in percent. */
export function written(column: Column, value: number): string {
  if (column.id !== "probability") return String(Number(value.toPrecision(4)));
  if (value < 1 && value >= 0.9995) return "> 99.9\u00a0%";
  return value < 0.0005 ? "< 0.1\u00a0%" : `${(100 * value).toFixed(value === 1 ? 0 : 1)}\u00a0%`;
}

export const isWrong = (data: MapData, i: number): boolean => columnOf(data, "error")?.codes?.[i] === 0;

/** The two parts of a name: the last part of a path, and the folder that holds it. */
export const shortName = (name: string): string => name.split(/[\\/]/).filter(Boolean).pop() ?? name;
export const folderOf = (name: string): string =>
  name.slice(0, name.length - shortName(name).length).replace(/[\\/]+$/, "");

export interface Near { row: number; score: number | null; isInBoth?: boolean }

/** The neighbors of a point in the vectors of each side, nearest first, without itself. */
export function neighborsOf({ sides }: MapData, i: number): Near[][] {
  const found = sides.map((side) => nearIn(side, i));
  if (found.length < 2) return found;
  const isIn = found.map((list) => new Set(list.map(({ row }) => row)));
  return found.map((list) => list.map((one) => ({ ...one, isInBoth: isIn.every((rows) => rows.has(one.row)) })));
}

function nearIn({ neighbors, scores, k }: Side, i: number): Near[] {
  const found: Near[] = [];
  if (i < 0 || !neighbors) return found;
  for (let j = i * k; j < (i + 1) * k; j++) {
    const row = neighbors[j];
    if (row >= 0 && row !== i) found.push({ row, score: scores ? scores[j] : null });
  }
  return found;
}

export const grouped = (n: number): string => n.toLocaleString("en");
export const plural = (n: number, one: string): string => `${grouped(n)} ${one}${n === 1 ? "" : "s"}`;
