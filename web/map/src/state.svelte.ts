// What a reader has asked for, and what is shown because of it. Nothing here draws.
import { type Column, columnOf, type MapData, neighborsOf } from "./data";
import { legendOf, type Legend } from "./legend";
import { createSearch } from "./search";

export class MapState {
  readonly data: MapData;
  readonly #search: (query: string) => Uint8Array | null;
  readonly #legends = new Map<string, Legend>();

  column: Column | null = $state.raw(null);
  filters: ReadonlyMap<string, ReadonlySet<number>> = $state.raw(new Map()); // column -> groups of its legend
  query = $state("");
  chosen = $state(-1); // the point whose card is open
  pointed = $state(-1);
  selected: readonly number[] = $state.raw([]); // the points of the gallery
  withPictures = $state(true);
  isLassoing = $state(false);

  constructor(data: MapData) {
    this.data = data;
    this.#search = createSearch(data);
    this.column = data.columns[0] ?? null;
  }

  legendOf(column: Column | null): Legend {
    const id = column?.id ?? "";
    if (!this.#legends.has(id)) this.#legends.set(id, legendOf(this.data, column));
    return this.#legends.get(id)!;
  }

  legend = $derived.by(() => this.legendOf(this.column));
  matches = $derived.by(() => this.#search(this.query));
  near = $derived.by(() => neighborsOf(this.data, this.chosen)); // a list for each side

  /** Which points pass the search and all filters, how many, and how many in each group of the legend. */
  shown = $derived.by(() => {
    const { count } = this.data;
    const filters = [...this.filters].map(([id, groups]) => ({ groups, group: this.legendOf(columnOf(this.data, id) ?? null).group }));
    const flags = new Uint8Array(count);
    const counts = new Uint32Array(this.legend.groups.length);
    let total = 0;
    for (let i = 0; i < count; i++) {
      if (this.matches && !this.matches[i]) continue;
      if (!filters.every(({ groups, group }) => groups.has(group[i]))) continue;
      flags[i] = 1;
      total++;
      counts[this.legend.group[i]]++;
    }
    return { flags, total, counts, isFiltered: this.matches !== null || filters.length > 0 };
  });

  /** How many points of each cluster are shown. */
  sizes = $derived.by(() => {
    const codes = columnOf(this.data, "cluster")?.codes;
    const sizes = new Map<number, number>();
    codes?.forEach((code, i) => { if (this.shown.flags[i]) sizes.set(code, (sizes.get(code) ?? 0) + 1); });
    return (i: number) => sizes.get(codes?.[i] ?? -1) ?? 0;
  });

  colorOf(i: number): string {
    return this.legend.groups[this.legend.group[i]].color;
  }

  /** The shown points, in their order. */
  rowsShown(): number[] {
    const rows: number[] = [];
    this.shown.flags.forEach((flag, i) => { if (flag) rows.push(i); });
    return rows;
  }

  /** Show only a group of the column that colors, or add it to those shown; once more to undo. */
  toggle(group: number, isAdding = false): void {
    const id = this.column?.id ?? "";
    const old = this.filters.get(id) ?? new Set<number>();
    const isIn = old.has(group);
    const groups = isAdding ? new Set([...old].filter((one) => one !== group)) : new Set<number>();
    if (!isIn || (!isAdding && old.size > 1)) groups.add(group);
    this.setFilter(id, groups);
  }

  setFilter(id: string, groups: ReadonlySet<number>): void {
    const filters = new Map(this.filters);
    if (groups.size) filters.set(id, groups);
    else filters.delete(id);
    this.filters = filters;
  }

  select(rows: readonly number[], isAdding = false): void {
    this.chosen = -1; // its card would hide the gallery
    this.selected = isAdding ? [...new Set([...this.selected, ...rows])] : rows;
  }

  toggleSelected(i: number): void {
    this.selected = this.selected.includes(i) ? this.selected.filter((one) => one !== i) : [...this.selected, i];
  }

  /** One step back, as Escape takes it; whether there was one. */
  back(): boolean {
    if (this.isLassoing) this.isLassoing = false;
    else if (this.chosen >= 0) this.chosen = -1;
    else if (this.selected.length) this.selected = [];
    else if (this.filters.size) this.filters = new Map();
    else if (this.query) this.query = "";
    else return false;
    return true;
  }
}
