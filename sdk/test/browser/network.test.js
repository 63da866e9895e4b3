// Networks that break, and servers that restart.

import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";

import { connected, eventually, events, join, launch, open, sees, snapshot, tidy, until } from "./browser.js";
import { Network } from "./network.js";
import { Server } from "./server.js";
import { reconnects } from "../../scripts/reconnect.js";

/** Scaled down from 30 s, 35 s and 45 s, so that silence is noticed soon. The grace period is the default. */
const SCALED = { WS__PING_INTERVAL_MS: 2_000, WS__PROBE_AFTER_MS: 4_000, WS__DEAD_AFTER_MS: 8_000 };

let server;
let browser;
let network;
before(async () => {
  server = await Server.start(SCALED);
  browser = await launch();
  network = await Network.to(server.port);
});
afterEach(async () => {
  network.restore();
  network.slow(0);
  await tidy(browser);
});
after(async () => {
  await browser?.close();
  await network?.end();
  await server?.end();
});

const noLeaves = async (page) => assert.deepEqual(await events(page, "leave"), [], "somebody was seen to leave");

/** The ceiling of the pauses, even where many short ones came first, and the time that joining takes on a busy machine. */
const BACK_MS_MAX = 3_000 + 2_000;

test("a network that was cut for 5 s: everybody is back soon, nobody saw a leave", async (context) => {
  const { median, longest, leaves } = await reconnects(browser, server, network, 1);
  context.diagnostic(`back after ${median} ms (median), ${longest} ms (longest)`);
  assert.equal(leaves, 0);
  assert.ok(longest <= BACK_MS_MAX, `${longest} ms`);
});

test("a silent network: the connection is found dead and replaced", async () => {
  const { token } = await server.room();
  const ben = await join(browser, server.url, { token, name: "Ben" });
  const ann = await join(browser, network.url, { token, name: "Ann" });
  const before = await sees(ann, 1);
  network.silence();
  await until(ben, ({ others }) => others[0].status === "reconnecting");
  network.restore();
  const after = await until(ann, ({ status, self }) => status === "connected" && self.connection_id !== before.self.connection_id, 30_000);
  assert.equal(after.self.participant_id, before.self.participant_id);
  await noLeaves(ben);
});

test("the browser says offline: so does the status, and online brings it back at once", async () => {
  const { token } = await server.room();
  const ben = await join(browser, server.url, { token, name: "Ben" });
  const ann = await join(browser, network.url, { token, name: "Ann" });
  const before = await sees(ann, 1);
  network.silence();
  await ann.context().setOffline(true);
  await until(ann, ({ status }) => status === "offline");
  assert.equal((await snapshot(ann)).others.length, 1, "what was known is kept meanwhile");
  network.restore();
  await ann.context().setOffline(false);
  const backAt = Date.now();
  const after = await connected(ann);
  assert.ok(Date.now() - backAt < 3_000);
  assert.equal(after.self.participant_id, before.self.participant_id);
  await noLeaves(ben);
});

test("a slow network is not a dead one", async () => {
  const { token } = await server.room();
  network.slow(700);
  const ann = await join(browser, network.url, { token, name: "Ann" });
  const before = await connected(ann);
  // Several pings, each with its answer.
  await eventually("the round trip is known", () => ann.evaluate(() => room.roundTrip() >= 1_400 && room.roundTrip() < 5_000));
  await ann.evaluate(() => (globalThis.frames = 0));
  await ann.evaluate(() => room.on("status", () => globalThis.frames++));
  const ben = await join(browser, server.url, { token, name: "Ben" });
  await sees(ann, 1);
  await ben.evaluate(() => room.set({ done: true }));
  const after = await until(ann, ({ others }) => others[0].state?.done);
  assert.equal(after.self.connection_id, before.self.connection_id);
  assert.equal(await ann.evaluate(() => globalThis.frames), 0, "the status did not flap");
  const ahead = await ann.evaluate(() => room.now() - Date.now());
  assert.ok(Math.abs(ahead) < 1_500, `one computer, one clock: ${ahead} ms`);
});

for (const [name, signal] of [["restart", "SIGTERM"], ["crash", "SIGKILL"]]) {
  test(`a ${name} of the server: everybody comes back as who they were`, async () => {
    const { session, token } = await server.room();
    const ann = await join(browser, server.url, { token, name: "Ann", state: { mood: "fresh" } });
    const ben = await join(browser, server.url, { token, name: "Ben" });
    const before = [await sees(ann, 1), await sees(ben, 1)];
    await server.stop(signal);
    await until(ann, ({ status }) => status === "reconnecting");
    await ann.evaluate(() => room.set({ mood: "patient" }));
    await server.run();
    const after = [await sees(ann, 1), await sees(ben, 1)];
    const ids = (snapshots) => snapshots.map(({ self }) => self.participant_id);
    assert.deepEqual(ids(after), ids(before));
    await until(ben, ({ others }) => others[0].state.mood === "patient");
    await noLeaves(ann);
    await noLeaves(ben);
    assert.equal((await server.audit(session)).filter((type) => type === "participant_left").length, 0);
  });
}

test("a server that restarts says when to come back, and nobody comes before", async () => {
  const { token } = await server.room();
  const ann = await open(browser, `${server.url}/`);
  const attempts = [];
  let asked;
  ann.on("websocket", (socket) => {
    attempts.push(Date.now());
    socket.on("framereceived", ({ payload }) => {
      const frame = JSON.parse(payload);
      if (frame.code === "restarting") asked ??= { at: Date.now(), retry_after_ms: frame.retry_after_ms };
    });
  });
  await join(browser, server.url, { token, name: "Ann" }, { page: ann });
  await connected(ann);
  await server.stop();
  await server.run();
  await connected(ann);
  assert.ok(asked.retry_after_ms >= 0);
  // The events of the browser arrive here a moment after they happened.
  assert.ok(attempts[1] >= asked.at + asked.retry_after_ms - 50, `asked for ${asked.retry_after_ms} ms, came after ${attempts[1] - asked.at} ms`);
});
