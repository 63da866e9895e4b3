// The bindings with their real frameworks, bundled as an app would, on a page of another origin than the server.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { fileURLToPath } from "node:url";
import { after, afterEach, before, test } from "node:test";

import { build } from "esbuild";

import { connected, eventually, events, join, launch, open, sees, tidy } from "./browser.js";
import { Server } from "./server.js";

const FRAMEWORKS = ["react", "vue", "svelte", "zustand"];

let server;
let browser;
let app;
const scripts = new Map();
before(async () => {
  server = await Server.start();
  browser = await launch();
  for (const name of FRAMEWORKS) {
    const { outputFiles } = await build({
      entryPoints: [fileURLToPath(new URL(`adapters/${name}.js`, import.meta.url))],
      bundle: true,
      format: "esm",
      write: false,
      define: { "process.env.NODE_ENV": '"development"', __VUE_PROD_DEVTOOLS__: "false", __VUE_OPTIONS_API__: "true", __VUE_PROD_HYDRATION_MISMATCH_DETAILS__: "false" },
    });
    scripts.set(`/${name}.js`, outputFiles[0].text);
  }
  const example = await readFile(new URL("../../examples/who-is-here.html", import.meta.url));
  app = createServer(({ url }, response) => {
    const script = scripts.get(url);
    response.setHeader("content-type", script ? "text/javascript" : "text/html; charset=utf-8");
    response.end(script ?? (url.startsWith("/example") ? example : "<!doctype html><title>An app</title><body>"));
  });
  await new Promise((done) => app.listen(0, "127.0.0.1", done));
});
afterEach(() => tidy(browser));
after(async () => {
  await browser?.close();
  await server?.end();
  app?.close();
});

for (const name of FRAMEWORKS) {
  test(`${name} shows the room, and leaves it`, async () => {
    const { token } = await server.room();
    const ben = await join(browser, server.url, { token, name: "Ben" });
    await connected(ben);
    const page = await open(browser, `http://127.0.0.1:${app.address().port}/`);
    await page.evaluate(([url, token]) => Object.assign(globalThis, { serverUrl: url, token }), [server.url, token]);
    await page.addScriptTag({ type: "module", url: `/${name}.js` });
    const shows = (id, text) => eventually(`${id}: ${text}`, async () => (await page.textContent(`#${id}`).catch(() => "")) === text);

    await shows("invite", "good true");
    await page.evaluate(() => globalThis.setInside(true));
    await shows("status", "connected");
    await shows("names", "Ben");
    assert.equal((await page.textContent("#self")).toLowerCase(), name);
    await sees(ben, 1);
    assert.deepEqual((await events(ben, "join")).length, 1, "it came once");

    const rendersBefore = await page.evaluate(() => globalThis.renders?.names);
    await ben.evaluate(() => room.set({ mood: "glad" }));
    await shows("moods", "glad");
    assert.equal(await page.evaluate(() => globalThis.renders?.names), rendersBefore, "what did not change is not rendered");

    await page.evaluate(() => void globalThis.setInside(false));
    await sees(ben, 0);
    assert.equal((await events(ben, "leave"))[0].event.reason, "left");
    assert.equal(await page.evaluate(() => globalThis.room.getSnapshot().status), "closed");
  });
}

test("the example shows who is here", async () => {
  const { token } = await server.room();
  const ben = await join(browser, server.url, { token, name: "Ben" });
  const page = await open(browser, `http://127.0.0.1:${app.address().port}/example?server=${server.url}#${token}`);
  await sees(ben, 1);
  await page.click("#hand");
  await eventually("a hand", async () => (await page.textContent("#people")) === "Guest (active) ✋Ben (active)");
});

test("the modules that the server delivers can be imported by pages of other origins", async () => {
  const page = await open(browser, `http://127.0.0.1:${app.address().port}/`);
  const names = await page.evaluate(async (url) => {
    const all = await Promise.all(["rollcall", "invite", "codes", "svelte", "zustand"].map((name) => import(`${url}/sdk/${name}.js`)));
    return all.flatMap(Object.keys).sort();
  }, server.url);
  assert.deepEqual(names, ["Room", "bindRoom", "codes", "createRollcall", "readable", "roomStore", "watchInvite"]);
});
