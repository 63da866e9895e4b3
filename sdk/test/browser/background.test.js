// Tabs in the background for minutes, as Chromium treats them: timers of a hidden page run once a minute, and a frozen
// page runs nothing at all.
//
// Scaled, so that the test is short: Chromium begins with it after 10 s instead of 5 min; pings every 2 s instead of 30,
// silence noticed after 4 s and 8 s instead of 35 and 45. What matters stays as it is: between two of the page's own
// timers there is more time than a connection may be silent.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { eventually, events, join, launch, snapshot, until } from "./browser.js";
import { Network } from "./network.js";
import { PlainChromium } from "./pipe.js";
import { Server } from "./server.js";

const SCALED = { WS__PING_INTERVAL_MS: 2_000, WS__PROBE_AFTER_MS: 4_000, WS__DEAD_AFTER_MS: 8_000 };
const THROTTLED = ["--enable-features=IntensiveWakeUpThrottling:grace_period_seconds/10"];
/** Until Chromium has begun to slow a hidden tab down. */
const SETTLES_FOR_MS = 14_000;
const HIDDEN_FOR_MS = 20_000;
const FROZEN_FOR_MS = 12_000;
const CUT_MS = 5_000;

let server;
let watching;
let browser;
let network;
before(async () => {
  server = await Server.start(SCALED);
  watching = await launch();
  browser = await PlainChromium.launch(THROTTLED);
  network = await Network.to(server.port);
});
after(async () => {
  await browser?.close();
  await watching?.close();
  await network?.end();
  await server?.end();
});

/** Somebody who watches, and a tab that is in the same room. */
async function meet(url = server.url) {
  const { session, token } = await server.room();
  const ben = await join(watching, server.url, { token, name: "Ben" });
  const ann = await browser.tab(`${url}/`);
  const enter = async (options) => {
    const { createRollcall } = await import("/sdk/rollcall.js");
    globalThis.room = createRollcall().join(options);
    globalThis.ticks = 0;
    const chain = () => setTimeout(() => (globalThis.ticks++, chain()), 1_000);
    chain();
  };
  await eventually("loaded", () => ann.evaluate(`location.pathname === "/" && document.readyState === "complete"`));
  await ann.evaluate(`(${enter})(${JSON.stringify({ token, name: "Ann" })})`);
  const now = () => ann.evaluate("room.getSnapshot()");
  const status = (status) => until(ben, ({ others }) => others[0]?.status === status);
  // Others may hear of her before she does.
  const connected = () => eventually("connected", async () => {
    const snapshot = await now();
    return snapshot.status === "connected" && snapshot;
  });
  await status("active");
  await connected();
  return { session, ben, ann, now, status, connected };
}

const passes = (milliseconds) => {
  const since = Date.now();
  return eventually("time passes", () => Date.now() - since > milliseconds, milliseconds * 2);
};

test("a hidden tab stays in the room, away, and is active when it is seen again", async (context) => {
  const { session, ben, ann, now, status } = await meet();
  const before = await now();
  await browser.tab("about:blank");
  assert.equal(await ann.evaluate("document.visibilityState"), "hidden");
  await status("away");
  await passes(SETTLES_FOR_MS);
  const ticksBefore = await ann.evaluate("ticks");
  await passes(HIDDEN_FOR_MS);
  const ticked = (await ann.evaluate("ticks")) - ticksBefore;
  context.diagnostic(`${ticked} ticks of a timer of 1 s in ${HIDDEN_FOR_MS / 1000} s`);
  // Mostly none at all; a chain of timers may ride along where a ping wakes the page.
  assert.ok(ticked <= HIDDEN_FOR_MS / 1000 * 0.75, "the page was not slowed down");

  assert.equal((await snapshot(ben)).others[0].status, "away");
  await ann.bringToFront();
  await status("active");
  assert.equal((await now()).self.connection_id, before.self.connection_id, "one connection all the time");
  assert.deepEqual(await events(ben, "leave"), []);
  assert.equal((await server.audit(session)).filter((type) => type === "connection_closed").length, 0);
});

test("a frozen tab is back as who it was when it thaws", async () => {
  const { ben, ann, now, status, connected } = await meet();
  const before = await now();
  await browser.tab("about:blank");
  await status("away");
  await ann.setLifecycle("frozen");
  await passes(FROZEN_FOR_MS);
  await ann.setLifecycle("active");
  await ann.bringToFront();
  await status("active");
  const after = await connected();
  assert.equal(after.self.participant_id, before.self.participant_id);
  assert.deepEqual(await events(ben, "leave"), []);
});

test("a hidden tab whose network was cut comes back while it is hidden", async (context) => {
  const { ben, ann, now, status } = await meet(network.url);
  const before = await now();
  await browser.tab("about:blank");
  await status("away");
  await passes(SETTLES_FOR_MS);
  network.cut();
  await status("reconnecting");
  await passes(CUT_MS);
  network.restore();
  const backAt = Date.now();
  await status("away");
  context.diagnostic(`back after ${Date.now() - backAt} ms`);
  assert.equal(await ann.evaluate("document.visibilityState"), "hidden");
  assert.equal((await now()).self.participant_id, before.self.participant_id);
  assert.deepEqual(await events(ben, "leave"), []);
});
