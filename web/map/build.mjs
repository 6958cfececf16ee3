// Source -> the two files that the Python package carries. Licenses of what is inside come first in the script.
import { build } from "esbuild";
import sveltePlugin from "esbuild-svelte";
import { readFile, writeFile } from "node:fs/promises";

const OUTPUT = new URL("../../src/convscope/report/assets/", import.meta.url);
// What the bundle holds, with regl-scatterplot's parts.
const INSIDE = ["svelte", "clsx", "regl-scatterplot", "regl", "pub-sub-es", "regl-line", "dom-2d-camera", "camera-2d-simple", "gl-matrix", "earcut", "@flekschas/utils"];

// In place of esm-env: as constants, these let esbuild leave out Svelte's warnings for developers.
const environment = {
  name: "environment",
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^esm-env$/ }, () => ({ path: "esm-env", namespace: "environment" }));
    onLoad({ filter: /.*/, namespace: "environment" }, () => ({ contents: "export const BROWSER = true, DEV = false, NODE = false;" }));
  },
};

const result = await build({
  entryPoints: ["src/page.ts"],
  outfile: "map.js",
  bundle: true,
  minify: true,
  write: false,
  format: "iife",
  target: "es2022",
  charset: "ascii",
  legalComments: "none",
  conditions: ["svelte", "browser"],
  plugins: [environment, sveltePlugin({ compilerOptions: { css: "external", runes: true, dev: false } })],
});
for (const one of result.warnings) throw new Error(one.text);

const licenses = [];
for (const name of INSIDE) {
  const folder = new URL(`node_modules/${name}/`, import.meta.url);
  const { version, license } = JSON.parse(await readFile(new URL("package.json", folder), "utf8"));
  const text = await readLicense(folder);
  licenses.push(`${name} ${version} (${license})\n\n${text.trim()}`);
}

async function readLicense(folder) {
  for (const name of ["LICENSE", "LICENSE.md", "LICENSE.txt", "license"]) {
    try { return await readFile(new URL(name, folder), "utf8"); } catch { /* the next name */ }
  }
  throw new Error(`${folder}: no license file`);
}

// Parts that have no package of their own.
licenses.push((await readFile("notices.txt", "utf8")).trim());

// The page names no address outside of license texts: these stand in texts of errors. The names of HTML and SVG are
// no addresses that anything is loaded from, and are put together from two parts.
const ADDRESSES = [/http:\/\/get\.webgl\.org|https:\/\/www\.npmjs\.com\/package\/glsl-read-float|https:\/\/svelte\.dev\/e\/|https:\/\/github\.com\/sveltejs\/svelte/g, ""];
const NAMES = [/(["'`])http:\/\/www\.w3\.org\//g, '$1http:$1+$1//www.w3.org/'];

for (const file of result.outputFiles) {
  const isScript = file.path.endsWith(".js");
  const notice = `/*!\nBuilt from web/map, see its README. Contains:\n\n${licenses.join("\n\n---\n\n").replaceAll("*/", "* /")}\n*/\n`;
  const code = file.text.trimEnd().replaceAll(...ADDRESSES).replaceAll(...NAMES).replaceAll("<!--", "<\\!--"); // the same string
  if (/https?:\/\//.test(code)) throw new Error(`${file.path}: names an address: ${code.match(/.{0,40}https?:\/\/.{0,60}/)[0]}`);
  const text = `${isScript ? notice : ""}${code}\n`;
  if (/<\/script|<!--/i.test(text)) throw new Error(`${file.path}: cannot stand inside a <script> element`);
  await writeFile(new URL(isScript ? "map.js" : "map.css", OUTPUT), text);
  console.log(isScript ? "map.js" : "map.css", text.length);
}
