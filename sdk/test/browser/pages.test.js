// The page behind an invite link and the demo room, as a visitor meets them.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, afterEach, before, test } from "node:test";

import { eventually, launch, open, picture, tidy } from "./browser.js";
import { Server } from "./server.js";

const PHONE = { viewport: { width: 390, height: 780 } };
const axe = await readFile(new URL("../../node_modules/axe-core/axe.min.js", import.meta.url), "utf8");

let server;
let browser;
before(async () => {
  server = await Server.start({ PRESENCE__GRACE_S: 2 });
  browser = await launch();
});
afterEach(() => tidy(browser));
after(async () => {
  await browser?.close();
  await server?.end();
});

const link = (token) => `${server.url}/join#${token}`;
const title = (page, text) => page.getByRole("heading", { level: 1, name: text }).waitFor();
const soon = (milliseconds) => new Date(Date.now() + milliseconds).toISOString();

/** Comes in by the keyboard alone. */
async function enter(page, name) {
  await page.waitForFunction(() => document.activeElement?.id === "name");
  await page.keyboard.type(name);
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: /Here now/ }).waitFor();
}

const people = (page) => page.locator("#people .name").allTextContents();
const peopleAre = (page, names) => eventually(`${names}`, async () => `${(await people(page)).sort()}` === `${[...names].sort()}`);

/** No violation of the rules of axe, in the light and in the dark. */
async function isAccessible(page, name) {
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
    await picture(page, `${name}-${colorScheme}`);
    await page.evaluate(axe);
    const { violations } = await page.evaluate(() => globalThis.axe.run());
    const found = violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" ")}`);
    assert.deepEqual(found, [], `${name}, ${colorScheme}`);
  }
}

test("a bad link is told at once, with what to do next", async () => {
  const { session, token } = await server.room({ title: "Lesson 12" });
  const revoked = await server.invite(session);
  await server.api("DELETE", `/invites/${revoked.id}`);
  const expired = await server.invite(session, { expires_in_s: 1 });
  const once = await server.invite(session, { max_uses: 1 });
  const first = await open(browser, link(once.token));
  await enter(first, "First");
  const over = await server.room({ title: "Over" });
  await server.api("POST", `/sessions/${over.session.id}/end`, {});

  const cases = [
    ["none", "", "You need an invite", /link you were given/],
    ["cut-off", token.slice(0, -3), "This link is not complete", /cut off/],
    ["revoked", revoked.token, "This invite was withdrawn", /whether there is a new one/],
    ["used-up", once.token, "This invite has been used", /a link of your own/],
    ["ended", over.token, "This session has ended", /ask the host/],
    ["expired", expired.token, "This invite has expired", /Ask the person who invited you/],
  ];
  const page = await open(browser, undefined, PHONE);
  for (const [name, token, heading, next] of cases) {
    await page.goto("about:blank");
    await page.goto(link(token));
    await title(page, heading);
    assert.match(await page.locator("#landing-next").textContent(), next, name);
    assert.equal(await page.locator("#enter").isVisible(), false, name);
    await isAccessible(page, `refused-${name}`);
  }
});

test("a good link counts down, and expires under the eyes of the visitor", async () => {
  const { session } = await server.room({ title: "Lesson 12" });
  const { token } = await server.invite(session, { expires_in_s: 180 });
  const page = await open(browser, link(token), PHONE);
  await title(page, "Lesson 12");
  assert.match(await page.getByRole("timer").textContent(), /^Your link is good for (3:00|2:5\d)$/);
  const before = await page.getByRole("timer").textContent();
  await eventually("the clock moves", async () => (await page.getByRole("timer").textContent()) !== before);
  await isAccessible(page, "landing");

  const brief = await server.invite(session, { expires_in_s: 6 });
  await page.goto("about:blank");
  await page.goto(link(brief.token));
  await title(page, "Lesson 12");
  await title(page, "This invite has expired");
});

test("whoever is early waits, and is let in when the time has come", async () => {
  const { session } = await server.room({ title: "Lesson 12" });
  const { token } = await server.invite(session, { not_before: soon(8_000), expires_at: soon(60_000) });
  const page = await open(browser, link(token));
  await title(page, "You are early");
  assert.match(await page.getByRole("timer").textContent(), /^Opens in 0:0[0-8]$/);
  await enter(page, "Early bird");
  assert.deepEqual(await people(page), ["Early bird (you)"]);
});

test("a server that cannot be reached is told, and tried again", async () => {
  const { token } = await server.room({ title: "Lesson 12" });
  const page = await open(browser);
  await page.route("**/invites/check", (route) => route.abort());
  await page.goto(link(token));
  await title(page, "No connection yet");
  await page.unroute("**/invites/check");
  await title(page, "Lesson 12");
});

test("several people meet in the room", async () => {
  const { session, token } = await server.room({ title: "Lesson 12" });
  const host = await server.invite(session, { role: "host" });
  const ann = await open(browser, link(host.token), { viewport: { width: 1100, height: 900 } });
  await enter(ann, "Ann");
  const ben = await open(browser, link(token), PHONE);
  await enter(ben, "Ben");
  const cara = await open(browser, link(token));
  await enter(cara, "Cara Meier");
  await peopleAre(ann, ["Ann (you)", "Ben", "Cara Meier"]);

  await ben.getByRole("button", { name: "hand up" }).press("Space");
  await ann.getByText("hand up", { exact: true }).first().waitFor();
  assert.equal(await ben.getByRole("button", { name: "hand up" }).getAttribute("aria-pressed"), "true");
  await isAccessible(ann, "room-host");
  await isAccessible(ben, "room-phone");

  await ben.reload();
  await peopleAre(ben, ["Ann", "Ben (you)", "Cara Meier"]);
  assert.equal(await ben.getByRole("button", { name: "hand up" }).getAttribute("aria-pressed"), "true");
  assert.doesNotMatch(await ann.locator("#log").textContent(), /Ben (left|lost)/);

  await cara.getByRole("button", { name: "Leave" }).press("Enter");
  await title(cara, "You have left");
  await peopleAre(ann, ["Ann (you)", "Ben"]);
  assert.match(await ann.locator("#log").textContent(), /Cara Meier left\./);
  await cara.getByRole("button", { name: "Come back" }).press("Enter");
  await peopleAre(ann, ["Ann (you)", "Ben", "Cara Meier"]);

  await ann.getByRole("button", { name: "Remove Cara Meier" }).press("Enter");
  await title(cara, "You were removed");
  await peopleAre(ann, ["Ann (you)", "Ben"]);
  ann.on("dialog", (dialog) => dialog.accept());
  assert.equal(await ben.locator("#host").isVisible(), false, "a guest has no host's buttons");
  await ann.getByRole("button", { name: "End for everybody" }).press("Enter");
  await title(ann, "This session has ended");
  await title(ben, "This session has ended");
});

test("an idle session warns, is kept by activity, and ends with a reason", async () => {
  // Long enough to look at the warning on a slow machine.
  const { token } = await server.room({ title: "Quiet", idle_timeout_s: 20, warn_before_s: [16] });
  const page = await open(browser, link(token));
  await enter(page, "Ann");
  const banner = page.getByRole("alert");
  await banner.waitFor();
  assert.match(await banner.textContent(), /ends in .* unless somebody is active/);
  assert.match(await page.locator("#warning-clock").textContent(), /^0:(0[1-9]|1[0-6])$/);
  await isAccessible(page, "room-warning");
  await page.mouse.move(20, 20);
  await page.mouse.move(200, 200);
  await banner.waitFor({ state: "hidden" });
  assert.match(await page.locator("#log").textContent(), /The end of the session has moved/);
  await banner.waitFor();
  await title(page, "This session has ended");
  assert.match(await page.locator("#landing-message").textContent(), /nobody was active/);
});

test("a host puts off the end", async () => {
  const { session } = await server.room({ title: "Short", max_duration_s: 30, warn_before_s: [29] });
  const { token } = await server.invite(session, { role: "host" });
  const page = await open(browser, link(token));
  await enter(page, "Ann");
  // Everybody was warned before she came.
  await page.getByRole("alert").waitFor();
  assert.equal(await page.getByRole("button", { name: "I am still here" }).isVisible(), false, "being here does not help");
  await page.getByRole("button", { name: "Extend by 15 minutes" }).press("Enter");
  await page.getByRole("alert").waitFor({ state: "hidden" });
});

test("the start page is accessible, and the client can be imported from it", async () => {
  const page = await open(browser, `${server.url}/`);
  await isAccessible(page, "start");
});

test("the pages keep to their policy: no inline code, no token in any address", async () => {
  const { token } = await server.room();
  const page = await open(browser);
  const addresses = [];
  page.on("request", (request) => addresses.push(request.url()));
  page.on("websocket", (socket) => addresses.push(socket.url()));
  const response = await page.goto(link(token));
  await enter(page, "Ann");
  const policy = (await response.allHeaders())["content-security-policy"];
  assert.match(policy, /default-src 'none'/);
  assert.doesNotMatch(policy, /unsafe/);
  assert.ok(addresses.length > 10);
  assert.deepEqual(addresses.filter((address) => address.split("#")[0].includes(token)), []);
});
