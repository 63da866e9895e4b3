import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { test } from "node:test";
import { gzipSync } from "node:zlib";

import { build } from "esbuild";

import { codes } from "../../src/codes.js";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const manifest = JSON.parse(await readFile(`${ROOT}package.json`, "utf8"));

/** What an app pays for the core, minified and gzipped. */
const CORE_BYTES_MAX = 5 * 1024;
/** What a binding adds to it. */
const BINDING_BYTES_MAX = 1_536;

async function bundle(contents, options = {}) {
  const { outputFiles } = await build({
    stdin: { contents, resolveDir: ROOT },
    bundle: true,
    minify: true,
    format: "esm",
    write: false,
    external: ["react", "vue"],
    logLevel: "silent",
    ...options,
  });
  return outputFiles[0];
}

const size = async (contents) => gzipSync((await bundle(contents)).contents, { level: 9 }).length;

test("the core fits into 5 KiB", async (context) => {
  const core = await size(`export * from "@rollcall/client"`);
  context.diagnostic(`core: ${core} bytes minified and gzipped`);
  assert.ok(core <= CORE_BYTES_MAX, `${core} bytes`);
  for (const name of ["invite", "react", "svelte", "vue", "zustand"]) {
    const added = (await size(`export * from "@rollcall/client"; export * from "@rollcall/client/${name}"`)) - core;
    context.diagnostic(`${name}: ${added} bytes more`);
    assert.ok(added <= BINDING_BYTES_MAX, `${name}: ${added} bytes`);
  }
});

test("what is not used is not bundled, and importing does nothing", async () => {
  // Without believing what the package says of itself.
  const { text } = await bundle(`import "@rollcall/client"; import "@rollcall/client/codes"`, { ignoreAnnotations: true });
  assert.equal(text.trim(), "");
  assert.deepEqual([manifest.dependencies, manifest.sideEffects], [undefined, false]);
});

test("everything can be imported outside a browser", async () => {
  for (const name of Object.keys(manifest.exports)) await import(name.replace(".", "@rollcall/client"));
});

test("what is exported is there", async () => {
  const files = await readdir(`${ROOT}src`);
  for (const { default: target } of Object.values(manifest.exports)) assert.ok(files.includes(target.replace("./src/", "")), target);
});

test("the ranges of the close codes say what the registry says", () => {
  const advice = { 40: "never", 41: "refresh", 42: "later" };
  for (const [name, { close, retry }] of Object.entries(codes)) {
    if (close !== null) assert.equal(advice[Math.floor(close / 100)], retry, name);
  }
});

test("the version is told to the server", async () => {
  assert.ok((await readFile(`${ROOT}src/room.js`, "utf8")).includes(`"${manifest.name} ${manifest.version}"`));
});
