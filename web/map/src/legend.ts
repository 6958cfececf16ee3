// The groups that the points are colored by. Their colors come with the data.
import { type Column, type MapData, written } from "./data";

export interface Group { name: string; color: string; count: number; isOther?: boolean; isBelow?: boolean }
export interface Legend { groups: Group[]; group: Uint16Array } // `group` (N,) is each point's

const BINS = 7;

export function legendOf(data: MapData, column: Column | null): Legend {
  const legend = !column ? all(data) : column.codes ? byValue(data, column) : byNumber(data, column);
  for (const g of legend.group) legend.groups[g].count++;
  return legend;
}

const all = (data: MapData): Legend => ({
  groups: [{ name: "all images", color: data.ramp[Math.floor(data.ramp.length / 2)], count: 0 }], group: new Uint16Array(data.count),
});

function byValue(data: MapData, column: Column): Legend {
  const { values = [], colors = [], quiet = [], codes } = column;
  const groups: Group[] = [];
  const placeOf = new Uint16Array(values.length + 1); // the last is for none
  const rest = values.map((_, code) => code).filter((code) => !colors[code]);
  values.forEach((name, code) => {
    if (!colors[code]) return;
    placeOf[code] = groups.length;
    groups.push({ name, color: colors[code]!, count: 0, isBelow: quiet.includes(code), isOther: colors[code] === data.other });
  });
  for (const code of rest) placeOf[code] = groups.length;
  const gray = { color: data.other, count: 0, isOther: true, isBelow: true };
  if (rest.length) groups.push({ name: rest.length === 1 ? values[rest[0]] : `${rest.length} others`, ...gray });
  placeOf[values.length] = groups.length;
  groups.push({ name: column.none ?? "none", ...gray });
  return { groups, group: Uint16Array.from(codes!, (code) => placeOf[code < 0 ? values.length : code]) };
}

/** Numbers in groups of about equal size, so that one outlier does not leave the rest in one color. */
function byNumber(data: MapData, column: Column): Legend {
  const numbers = column.numbers!;
  const sorted = numbers.filter((value) => !Number.isNaN(value)).sort();
  const starts: number[] = []; // each group's least value
  for (let b = 0; b < BINS && sorted.length; b++) {
    const value = sorted[Math.floor((b * sorted.length) / BINS)];
    if (value !== starts.at(-1)) starts.push(value);
  }
  const ends = new Float32Array(starts.length);
  let b = 0;
  for (const value of sorted) {
    while (b + 1 < starts.length && value >= starts[b + 1]) b++;
    ends[b] = value;
  }
  const colorAt = (share: number) => data.ramp[Math.round(share * (data.ramp.length - 1))];
  const groups: Group[] = starts.map((start, at) => {
    const [low, high] = [written(column, start), written(column, ends[at])];
    return { name: low === high ? low : `${low} to ${high}`, color: colorAt(starts.length > 1 ? at / (starts.length - 1) : 0.5), count: 0 };
  });
  groups.push({ name: column.none ?? "no value", color: data.other, count: 0, isOther: true, isBelow: true });
  const groupOf = (value: number) => {
    if (Number.isNaN(value)) return starts.length;
    let at = starts.length - 1;
    while (at > 0 && value < starts[at]) at--;
    return at;
  };
  return { groups, group: Uint16Array.from(numbers, groupOf) };
}
