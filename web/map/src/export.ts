// The selection as text: names for a terminal, CSV for a spreadsheet.
import { type MapData, shortName } from "./data";

export const namesOf = (data: MapData, rows: readonly number[]): string => rows.map((i) => data.names[i]).join("\n");

// RFC 4180. A spreadsheet would run what begins like a formula: a leading apostrophe makes it text.
function cell(given: string): string {
  const text = /^[=+\-@\t\r]/.test(given) && Number.isNaN(Number(given)) ? `'${given}` : given;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** One line for each point: its name, place and columns. */
export function csvOf(data: MapData, rows: readonly number[]): string {
  const value = (column: MapData["columns"][number], i: number): string => {
    if (column.codes) return column.values![column.codes[i]] ?? "";
    const number = column.numbers![i];
    return Number.isNaN(number) ? "" : String(number);
  };
  const axes = data.sides.flatMap((_, side) => (side ? ["x_b", "y_b"] : ["x", "y"]));
  const lines = [["name", ...axes, ...data.columns.map(({ id }) => id)]];
  for (const i of rows) {
    const place = data.sides.flatMap(({ coordinates }) => [coordinates[2 * i], coordinates[2 * i + 1]].map(String));
    lines.push([data.names[i], ...place, ...data.columns.map((column) => value(column, i))]);
  }
  return lines.map((line) => line.map(cell).join(",")).join("\r\n") + "\r\n";
}

export function download(name: string, text: string, type: string): void {
  const address = URL.createObjectURL(new Blob([text], { type }));
  Object.assign(document.createElement("a"), { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

/** Whether it worked: a browser may refuse. */
export async function copy(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const field = Object.assign(document.createElement("textarea"), { value: text });
    document.body.append(field);
    field.select();
    const isDone = document.execCommand("copy"); // where a page from disk has no other way
    field.remove();
    return isDone;
  }
}

/** A name for a file, without what a file system may refuse. */
export const fileName = (title: string): string => `${shortName(title).replace(/[^\w.-]+/g, "-") || "map"}.csv`;
