// Source -> the two files that the Python package carries. Licenses of what is inside come first in the script.
import { build } from "esbuild";
import { readFile, writeFile } from "node:fs/promises";

const OUTPUT = new URL("../../src/convscope/report/assets/", import.meta.url);
// What regl-scatterplot's bundle holds, and where each license text is.
const INSIDE = ["regl-scatterplot", "regl", "pub-sub-es", "regl-line", "dom-2d-camera", "camera-2d-simple", "gl-matrix", "earcut", "@flekschas/utils"];

const result = await build({
  entryPoints: ["src/main.js"],
  outfile: "map.js",
  bundle: true,
  minify: true,
  write: false,
  format: "iife",
  target: "es2022",
  charset: "ascii",
  legalComments: "none",
});

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

// The page names no address outside of license texts: these two stand in texts of errors.
const ADDRESSES = ["http://get.webgl.org", "https://www.npmjs.com/package/glsl-read-float"];

for (const file of result.outputFiles) {
  const isScript = file.path.endsWith(".js");
  const notice = `/*!\nBuilt from web/map, see its README. Contains:\n\n${licenses.join("\n\n---\n\n").replaceAll("*/", "* /")}\n*/\n`;
  const code = ADDRESSES.reduce((rest, address) => rest.replaceAll(address, ""), file.text.trimEnd());
  if (/https?:\/\//.test(code)) throw new Error(`${file.path}: names an address`);
  const text = `${isScript ? notice : ""}${code}\n`;
  if (/<\/script|<!--/i.test(text)) throw new Error(`${file.path}: cannot stand inside a <script> element`);
  await writeFile(new URL(isScript ? "map.js" : "map.css", OUTPUT), text);
  console.log(isScript ? "map.js" : "map.css", text.length);
}
