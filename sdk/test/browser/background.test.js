// A tab in the background for minutes, as Chromium treats it: timers of a hidden page run once a minute.
//
// Scaled, so that the test is short: Chromium begins with it after 10 s instead of 5 min; pings every 2 s instead of 30,
// silence noticed after 4 s and 8 s instead of 35 and 45. What matters stays as it is: between two of the page's own
// timers there is more time than a connection may be silent.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { eventually, events, join, launch, sees, snapshot, until } from "./browser.js";
import { Server } from "./server.js";

const SCALED = { WS__PING_INTERVAL_MS: 2_000, WS__PROBE_AFTER_MS: 4_000, WS__DEAD_AFTER_MS: 8_000 };
/** Playwright keeps hidden pages awake; a person's browser does not. */
const KEPT_AWAKE = [
  "--disable-background-timer-throttling",
  "--disable-backgrounding-occluded-windows",
  "--disable-renderer-backgrounding",
];
const THROTTLED = ["--enable-features=IntensiveWakeUpThrottling:grace_period_seconds/10"];
const HIDDEN_FOR_MS = 35_000;

let server;
let browser;
before(async () => {
  server = await Server.start(SCALED);
  browser = await launch({ ignoreDefaultArgs: KEPT_AWAKE, args: THROTTLED });
});
after(async () => {
  await browser?.close();
  await server?.end();
});

/** Minimises the window of a page, or brings it back. */
async function setWindow(page, windowState) {
  const debug = await page.context().newCDPSession(page);
  await debug.send("Emulation.setFocusEmulationEnabled", { enabled: false });
  const { windowId } = await debug.send("Browser.getWindowForTarget");
  await debug.send("Browser.setWindowBounds", { windowId, bounds: { windowState } });
}

test("a hidden tab stays in the room, away, and is active when it is seen again", async (context) => {
  const { session, token } = await server.room();
  // In a browser of its own: its pages are seen all the time.
  const watching = await launch();
  try {
    const ben = await join(watching, server.url, { token, name: "Ben" });
    const ann = await join(browser, server.url, { token, name: "Ann" });
    const before = await sees(ann, 1);
    await ann.evaluate(() => {
      globalThis.ticks = 0;
      const chain = (nesting = 0) => setTimeout(() => (ticks++, chain(nesting + 1)), 1_000);
      chain();
    });
    await setWindow(ann, "minimized");
    await eventually("hidden", () => ann.evaluate(() => document.visibilityState === "hidden"));
    await until(ben, ({ others }) => others[0].status === "away");
    const hiddenAt = Date.now();
    const ticksBefore = await ann.evaluate(() => ticks);
    await eventually("time passes", () => Date.now() - hiddenAt > HIDDEN_FOR_MS, HIDDEN_FOR_MS * 2);
    const ticked = (await ann.evaluate(() => ticks)) - ticksBefore;
    context.diagnostic(`${ticked} ticks of a timer of 1 s in ${HIDDEN_FOR_MS / 1000} s`);
    assert.ok(ticked < HIDDEN_FOR_MS / 1000 / 2, `the page was not slowed down: ${ticked} ticks`);

    const during = await snapshot(ben);
    assert.equal(during.others[0].status, "away");
    await setWindow(ann, "normal");
    await until(ben, ({ others }) => others[0].status === "active");
    assert.equal((await snapshot(ann)).self.connection_id, before.self.connection_id, "the same connection all the time");
    assert.deepEqual(await events(ben, "leave"), []);
    assert.equal((await server.audit(session)).filter((type) => type === "connection_closed").length, 0);
  } finally {
    await watching.close();
  }
});
