// What a search finds: names, labels and predictions that hold the text, and clusters by their number.
import { word } from "./data.js";

// One text for what looks the same: without upper case, and with accents as one letter, as names of files may not be.
const plain = (text) => text.toLowerCase().normalize("NFC");

/** A function from a query to which points (N,) it finds; null for an empty one. */
export function createSearch(data) {
  let texts = null; // made at the first search
  return function search(given) {
    const query = plain(given.trim());
    if (!query) return null;
    texts ??= data.names.map((name, i) =>
      plain([name, word(data, data.labels[i]), data.predicted && word(data, data.predicted[i])].filter(Boolean).join("\n")));
    const cluster = data.clusters && /^cluster\s*(\d*)$/.exec(query); // "cluster 3" is not "cluster 31"
    const isOf = (code) => code >= 0 && (cluster[1] === "" || code === Number(cluster[1]));
    return Uint8Array.from(texts, (text, i) => (text.includes(query) || (cluster && isOf(data.clusters[i])) ? 1 : 0));
  };
}
