// Real Chromium, and what the tests do in it.

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";

import { chromium } from "playwright-core";

const PLACES = [process.env.CHROMIUM, "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
/** Nothing but the test goes over the network. */
export const QUIET = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--no-first-run",
];
/** Kept as artefacts of a run, never in git. */
const ARTEFACTS = fileURLToPath(new URL("../../artefacts/", import.meta.url));
const PATIENCE_MS = 20_000;

export function chromiumPath() {
  const found = PLACES.find((place) => place && existsSync(place));
  if (!found) throw new Error("Chromium is missing: apt-get install chromium, or set CHROMIUM to its path");
  return found;
}

export function launch(options = {}) {
  return chromium.launch({
    executablePath: chromiumPath(),
    args: [...QUIET, ...(options.args ?? [])],
    ignoreDefaultArgs: options.ignoreDefaultArgs,
  });
}

/** What went wrong in any page. */
const errors = [];

/** After each test: nothing went wrong in any page, and the next one starts without them. */
export async function tidy(browser) {
  await Promise.all(browser.contexts().map((context) => context.close()));
  assert.deepEqual(errors.splice(0), [], "errors in a page");
}

/** A page of its own profile, or of `context`. */
export async function open(browser, url, { context, ...options } = {}) {
  const profile = context ?? (await browser.newContext(options));
  profile.setDefaultTimeout(PATIENCE_MS);
  const page = await profile.newPage();
  page.on("pageerror", (error) => errors.push(`${error}`));
  page.on("console", (message) => /Content.Security.Policy|Trusted/.test(message.text()) && errors.push(message.text()));
  if (url) await page.goto(url);
  return page;
}

/** Joins with the built-in client from the server's start page; the room is `room` in the page. */
export async function join(browser, url, join, { client = {}, page, ...options } = {}) {
  page ??= await open(browser, `${url}/`, options);
  await page.evaluate(
    async ([join, client]) => {
      const { createRollcall } = await import("/sdk/rollcall.js");
      globalThis.client = createRollcall(client);
      globalThis.events = [];
      globalThis.room = globalThis.client.join(join);
      for (const type of ["status", "join", "leave", "warning", "extended", "ended", "error", "closed"]) {
        room.on(type, (event) => events.push({ type, at: Date.now(), now: room.now(), event: structuredClone(event) }));
      }
    },
    [join, client],
  );
  return page;
}

export const snapshot = (page) => page.evaluate(() => room.getSnapshot());
export const events = (page, type) => page.evaluate((type) => events.filter((event) => event.type === type), type);

/** Waits until the snapshot satisfies the condition; gives it. */
export function until(page, condition, timeout) {
  let now;
  const look = async () => {
    now = await snapshot(page);
    return condition(now) && now;
  };
  return eventually(() => `${condition}, but ${JSON.stringify(now)}`, look, timeout);
}

export const connected = (page) => until(page, ({ status }) => status === "connected");
export const sees = (page, count) => until(page, ({ status, others }) => status === "connected" && others.length === count);

/** Waits for a state, not for a time. What is waited for may be a function, so that it can tell how far it came. */
export async function eventually(what, condition, timeout = PATIENCE_MS) {
  const end = Date.now() + timeout;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (Date.now() > end) throw new Error(`not in time: ${typeof what === "function" ? what() : what}`);
    await new Promise((done) => setTimeout(done, 20));
  }
}

export async function picture(page, name) {
  await mkdir(ARTEFACTS, { recursive: true });
  await page.screenshot({ path: path.join(ARTEFACTS, `${name}.png`), fullPage: true });
}
