// The data in the page: text as JSON, numbers as base64 of little-endian arrays, pictures as slices of one string.

function take(name) {
  const element = document.getElementById(`data-${name}`);
  if (!element) return null;
  const text = element.textContent;
  element.remove(); // so that the text is kept only once
  return text;
}

function array(name, Kind) {
  const text = take(name);
  if (text === null) return null;
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return new Kind(bytes.buffer);
}

/** All data of the page; null for what it lacks. */
export function readData() {
  const { names, words } = JSON.parse(take("texts"));
  const count = names.length;
  const data = {
    count,
    names,
    words,
    coordinates: array("coordinates", Float32Array),
    labels: array("labels", Int32Array),
    predicted: array("predicted", Int32Array),
    verdicts: array("verdicts", Int8Array), // 1 right, 0 wrong, -1 not judged; null if no prediction can be judged
    disagreement: array("disagreement", Float32Array), // share of the nearest that have another label
    probability: array("probability", Float32Array),
    clusters: array("clusters", Int32Array),
    representatives: array("representatives", Int32Array),
    neighbors: array("neighbors", Int32Array),
    scores: array("scores", Float32Array),
    offsets: array("offsets", Uint32Array),
    pictures: take("pictures"),
  };
  data.k = data.neighbors ? data.neighbors.length / count : 0;
  return data;
}

/** The data URI of a point's thumbnail, or null. */
export function picture(data, i) {
  if (!data.offsets || data.offsets[i] === data.offsets[i + 1]) return null;
  return `data:image/jpeg;base64,${data.pictures.slice(data.offsets[i], data.offsets[i + 1])}`;
}

export const word = (data, code) => (code < 0 ? null : data.words[code]);

/** The two parts of a name: the last part of a path, and the folder that holds it. */
export function shortName(name) {
  return name.split(/[\\/]/).filter(Boolean).pop() ?? name;
}
export function folderOf(name) {
  return name.slice(0, name.length - shortName(name).length).replace(/[\\/]+$/, "");
}

export const CAME_LATER = -2; // in place of a cluster: the image was added after clustering

export function clusterName(code) {
  return code >= 0 ? `cluster ${code}` : code === CAME_LATER ? "added after clustering" : "no cluster";
}

/** The neighbors of a point in the vectors, nearest first, without itself. */
export function neighborsOf(data, i) {
  const found = [];
  for (let j = i * data.k; j < (i + 1) * data.k; j++) {
    const row = data.neighbors[j];
    if (row >= 0 && row !== i) found.push({ row, score: data.scores ? data.scores[j] : null });
  }
  return found;
}

export function isWrong(data, i) {
  return data.verdicts !== null && data.verdicts[i] === 0;
}
