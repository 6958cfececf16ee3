// Which color a point has, and the legend's entries.
//
// The first six colors are Okabe and Ito's, as in the report. The others were chosen one by one, each the farthest
// (in OKLab) from those before, from paper and from the gray of "other", for normal sight and simulated protanopia,
// deuteranopia and tritanopia (Machado et al. 2009). Twenty colors cannot all be told apart at a glance by anyone:
// that is why an entry of the legend isolates its points, and a point says its label.
import { CAME_LATER, clusterName, word } from "./data.js";

const FIRST = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00"];
const THEMES = {
  light: {
    palette: [...FIRST, "#5a1e00", "#002d78", "#784b5a", "#87e1b4", "#4b87ff", "#b41e00", "#2d3cb4", "#00c8e3",
      "#b9d62e", "#5a2d4b", "#78c378", "#4b4b87", "#5a785a", "#875a87"],
    other: "#a0a0a6", faded: "#9a9aa2", right: "#8fb8d3", wrong: "#c04f00", mostly: "#e69f00", partly: "#d9c98f", paper: "#ffffff",
  },
  dark: {
    palette: [...FIRST.map((color) => (color === "#0072b2" ? "#2b8fd0" : color)), "#c3ffd2", "#ffe100", "#4b87ff",
      "#87e1ff", "#a53c2d", "#b4d296", "#785a78", "#f0c34b", "#96b478", "#00d2d2", "#fff096", "#7887d2", "#3c5ad2",
      "#78ffff"],
    other: "#77777e", faded: "#6c6c74", right: "#3f6f8f", wrong: "#f5964f", mostly: "#c99a2e", partly: "#7d7444", paper: "#1c1d20",
  },
};
export const DISTINCT = THEMES.light.palette.length;
const isDark = matchMedia("(prefers-color-scheme: dark)");
export const theme = () => THEMES[isDark.matches ? "dark" : "light"];
export const onThemeChange = (call) => isDark.addEventListener("change", call);

const NONE = -1;

/** The values of a column by how often they occur, most often first. */
function ranked(codes, nameOf) {
  const counts = new Map();
  for (const code of codes) counts.set(code, (counts.get(code) ?? 0) + 1);
  return [...counts].filter(([code]) => code > NONE)
    .sort(([a, n], [b, m]) => m - n || (nameOf(a) < nameOf(b) ? -1 : 1));
}

/** A column's legend: `groups` of the points, and `group` (N,) of each. `slots` are colors that values hold already. */
function byValue(codes, nameOf, nones, slots = new Map()) {
  const values = ranked(codes, nameOf);
  const shown = values.slice(0, values.length > DISTINCT ? DISTINCT : values.length);
  const free = Array.from({ length: DISTINCT }, (_, i) => i);
  for (const [code] of shown) if (slots.has(code)) free.splice(free.indexOf(slots.get(code)), 1);
  const groups = shown.map(([code, count]) => {
    const slot = slots.get(code) ?? free.shift();
    slots.set(code, slot);
    return { name: nameOf(code), count, color: () => theme().palette[slot] };
  });
  const place = new Map(shown.map(([code], i) => [code, i]));
  const rest = values.slice(shown.length);
  if (rest.length) {
    groups.push({ name: `${rest.length} others`, count: rest.reduce((sum, [, n]) => sum + n, 0), color: () => theme().other, isOther: true, isBelow: true });
    for (const [code] of rest) place.set(code, groups.length - 1);
  }
  for (const code of nones) {
    const count = codes.reduce((sum, one) => sum + (one === code), 0);
    if (!count) continue;
    place.set(code, groups.length);
    groups.push({ name: nameOf(code), count, color: () => theme().other, isOther: true, isBelow: true });
  }
  return { groups, group: Uint16Array.from(codes, (code) => place.get(code)) };
}

/** Groups by number, with how many points each has. */
function counted(group, groups) {
  groups.forEach((entry, i) => { entry.count = group.reduce((sum, g) => sum + (g === i), 0); });
  return { groups, group };
}

function byError(data) {
  const groupOf = (i) => (data.labels[i] < 0 || data.predicted[i] < 0 ? 3 : data.verdicts[i] < 0 ? 2 : data.verdicts[i]);
  return counted(Uint16Array.from({ length: data.count }, (_, i) => groupOf(i)), [
    { name: "wrong: predicted ≠ label", color: () => theme().wrong },
    { name: "right", color: () => theme().right, isBelow: true },
    { name: "not judged: the label is never predicted", color: () => theme().other, isOther: true, isBelow: true },
    { name: "no label or prediction", color: () => theme().other, isOther: true, isBelow: true },
  ]);
}

/** By how many of the nearest have another label: a wrong label stands alone among its neighbors. */
function byDisagreement(data) {
  const groupOf = (share) => (Number.isNaN(share) ? 4 : share === 1 ? 0 : share > 0.5 ? 1 : share > 0 ? 2 : 3);
  return counted(Uint16Array.from(data.disagreement, groupOf), [
    { name: "all nearest have another label", color: () => theme().wrong },
    { name: "most nearest have another label", color: () => theme().mostly },
    { name: "some nearest have another label", color: () => theme().partly, isBelow: true },
    { name: "all nearest have its label", color: () => theme().right, isBelow: true },
    { name: "no label, or none among the nearest", color: () => theme().other, isOther: true, isBelow: true },
  ]);
}

/** What the points can be colored by; a class has the same color as a label and as a prediction. */
export function colorModes(data) {
  const nameOf = (none) => (code) => word(data, code) ?? none;
  const some = (codes) => codes !== null && codes.some((code) => code >= 0);
  const slots = new Map();
  const modes = [];
  if (some(data.labels)) modes.push({ id: "label", title: "Label", ...byValue(data.labels, nameOf("no label"), [NONE], slots) });
  if (some(data.predicted)) modes.push({ id: "prediction", title: "Prediction", ...byValue(data.predicted, nameOf("no prediction"), [NONE], new Map(slots)) });
  if (data.verdicts) modes.push({ id: "error", title: "Error", ...byError(data) });
  if (data.disagreement) modes.push({ id: "neighbors", title: "Neighbors", ...byDisagreement(data) });
  if (some(data.clusters)) modes.push({ id: "cluster", title: "Cluster", ...byValue(data.clusters, clusterName, [NONE, CAME_LATER]) });
  if (!modes.length) {
    const groups = [{ name: "all images", count: data.count, color: () => theme().palette[0] }];
    modes.push({ id: "none", title: "All", groups, group: new Uint16Array(data.count) });
  }
  return modes;
}
