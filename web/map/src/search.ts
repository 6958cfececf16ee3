// What a search finds: names that hold the text, and values of the searched columns.
import { type MapData } from "./data";

// One text for what looks the same: without upper case, and with accents as one letter, as names of files may not be.
const plain = (text: string): string => text.toLowerCase().normalize("NFC");

/** Whether a value holds the query; "cluster 3" is not in "cluster 31". */
function holds(value: string, query: string): boolean {
  for (let at = value.indexOf(query); at >= 0; at = value.indexOf(query, at + 1)) {
    const after = value[at + query.length] ?? "";
    if (!(/\d$/.test(query) && /\d/.test(after))) return true;
  }
  return false;
}

/** A function from a query to which points (N,) it finds; null for an empty one. */
export function createSearch(data: MapData): (given: string) => Uint8Array | null {
  let names: string[] | null = null; // made at the first search
  return (given) => {
    const query = plain(given.trim());
    if (!query) return null;
    names ??= data.names.map(plain);
    const found = Uint8Array.from(names, (name) => (name.includes(query) ? 1 : 0));
    for (const { values, codes, isSearched, quiet = [] } of data.columns) {
      if (!isSearched || !values || !codes) continue;
      const isFound = values.map((value, code) => !quiet.includes(code) && holds(plain(value), query));
      if (isFound.includes(true)) codes.forEach((code, i) => { if (code >= 0 && isFound[code]) found[i] = 1; });
    }
    return found;
  };
}
