import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";

import { connected, eventually, events, join, launch, open, sees, snapshot, tidy, until } from "./browser.js";
import { Server } from "./server.js";
import { reloads } from "../../scripts/reload.js";

/** Enough to find a flap; `npm run reload100` is the long one. */
const RELOADS = 10;
/** Short, so that a crashed tab need not be waited for. */
const GRACE_S = 3;

let server;
let browser;
before(async () => {
  server = await Server.start({ PRESENCE__GRACE_S: GRACE_S });
  browser = await launch();
});
afterEach(() => tidy(browser));
after(async () => {
  await browser?.close();
  await server?.end();
});

test("people come, show their state and leave", async () => {
  const { token } = await server.room();
  const ann = await join(browser, server.url, { token, name: "Ann", state: { mood: "fresh" } });
  await connected(ann);
  const ben = await join(browser, server.url, { token, name: "Ben" });
  const { others } = await sees(ben, 1);
  assert.equal(others[0].name, "Ann");
  assert.deepEqual(others[0].state, { mood: "fresh" });
  await sees(ann, 1);

  await ann.evaluate(() => room.set({ mood: "tired" }));
  assert.deepEqual((await snapshot(ann)).self.state, { mood: "tired" }, "the own state is there at once");
  await until(ben, ({ others }) => others[0].state.mood === "tired");

  await ben.evaluate(() => room.close());
  await sees(ann, 0);
  const [{ event }] = await events(ann, "leave");
  assert.deepEqual([event.reason, event.member.name], ["left", "Ben"]);
  assert.equal((await snapshot(ben)).closed.code, "left");
});

test("many changes of the state become few frames, and the last one wins", async () => {
  const { token } = await server.room();
  const ann = await open(browser, `${server.url}/`);
  const updates = [];
  ann.on("websocket", (socket) => socket.on("framesent", ({ payload }) => payload.includes('"update"') && updates.push(payload)));
  await join(browser, server.url, { token, name: "Ann" }, { page: ann });
  const ben = await join(browser, server.url, { token, name: "Ben" });
  await sees(ann, 1);
  await ann.evaluate(async () => {
    for (let number = 1; number <= 200; number++) {
      room.set({ number });
      if (number % 20 === 0) await new Promise(requestAnimationFrame);
    }
  });
  await until(ben, ({ others }) => others[0]?.state?.number === 200);
  assert.ok(updates.length <= 10, `${updates.length} frames for 200 changes`);
});

test(`${RELOADS} reloads are no leave for anybody`, async () => {
  const { leaves, participants, missing } = await reloads(browser, server, RELOADS);
  assert.deepEqual({ leaves, participants, missing }, { leaves: 0, participants: 1, missing: 0 });
});

test("a link for one person lets that person back in after a reload", async () => {
  const { session } = await server.room();
  const { token } = await server.invite(session, { max_uses: 1 });
  const page = await join(browser, server.url, { token, name: "Ann" });
  const before = await connected(page);
  await page.reload();
  await join(browser, server.url, { token, name: "Ann" }, { page });
  assert.equal((await connected(page)).self.participant_id, before.self.participant_id);
});

test("two tabs are one person", async () => {
  const { session, token } = await server.room();
  const own = await server.invite(session, { identity: "ann", name: "Ann" });
  const ben = await join(browser, server.url, { token, name: "Ben" });
  const context = await browser.newContext();
  const first = await join(browser, server.url, { token: own.token }, { context });
  await sees(ben, 1);
  const second = await join(browser, server.url, { token: own.token }, { context });
  await until(ben, ({ others }) => others.length === 1 && others[0].connections === 2);
  assert.equal((await connected(second)).others.length, 1, "nobody sees themselves among the others");
  await first.close();
  await until(ben, ({ others }) => others[0].connections === 1);
  assert.deepEqual(await events(ben, "leave"), []);
  assert.equal((await snapshot(ben)).others[0].status, "active");
});

test("a duplicated tab does not push the first one out", async () => {
  const { token } = await server.room();
  const first = await join(browser, server.url, { token, name: "Ann" });
  const before = await connected(first);
  const kept = () => Object.keys(sessionStorage).filter((key) => key.startsWith("rollcall:"));
  await eventually("the token is kept", async () => (await first.evaluate(kept)).length === 1);
  // The way in which a browser copies the storage of a tab.
  const [second] = await Promise.all([first.waitForEvent("popup"), first.evaluate(() => void window.open("/"))]);
  await second.waitForLoadState();
  assert.deepEqual(await second.evaluate(kept), await first.evaluate(kept), "the storage was copied");
  await join(browser, server.url, { token, name: "Ann again" }, { page: second });
  await sees(second, 1);
  const after = await sees(first, 1);
  assert.equal(after.self.connection_id, before.self.connection_id);
});

test("a crashed tab is shown as reconnecting, then gone; its successor is the same person", async () => {
  const { token } = await server.room();
  const ben = await join(browser, server.url, { token, name: "Ben" });
  const crash = async () => {
    const context = await browser.newContext();
    const page = await join(browser, server.url, { token, name: "Ann" }, { context });
    const { self } = await connected(page);
    const kept = await eventually("the token is kept", async () => {
      const entries = await page.evaluate(() => Object.entries(sessionStorage));
      return entries.length > 0 && entries;
    });
    const debug = await context.newCDPSession(page);
    const crashed = page.waitForEvent("crash");
    debug.send("Page.crash").catch(() => {});
    await crashed;
    return { context, kept, self };
  };

  const { context, kept, self } = await crash();
  await until(ben, ({ others }) => others[0]?.status === "reconnecting");
  // What the browser restores of a crashed tab is its storage.
  const successor = await open(browser, `${server.url}/`, { context });
  await successor.evaluate((kept) => kept.forEach(([key, value]) => sessionStorage.setItem(key, value)), kept);
  await join(browser, server.url, { token, name: "Ann" }, { page: successor });
  assert.equal((await sees(successor, 1)).self.participant_id, self.participant_id);
  assert.deepEqual(await events(ben, "leave"), []);
  await successor.evaluate(() => room.close());

  await sees(ben, 0);
  await crash();
  await until(ben, ({ others }) => others[0]?.status === "reconnecting");
  await sees(ben, 0);
  const [, { event }] = await events(ben, "leave");
  assert.equal(event.reason, "closed");
});

test("a change that was missed is made good by a snapshot", async () => {
  const { token } = await server.room();
  const ann = await open(browser, `${server.url}/`);
  await ann.evaluate(() => {
    globalThis.missed = 0;
    window.WebSocket = class extends WebSocket {
      set onmessage(listener) {
        super.onmessage = listener && ((event) => {
          if (globalThis.missed === 0 && event.data.includes('"presence"')) globalThis.missed++;
          else listener(event);
        });
      }
    };
  });
  await join(browser, server.url, { token, name: "Ann" }, { page: ann });
  await connected(ann);
  const ben = await join(browser, server.url, { token, name: "Ben" });
  await connected(ben);
  await eventually("missed", () => ann.evaluate(() => globalThis.missed === 1));
  assert.equal((await snapshot(ann)).others.length, 0);
  const cara = await join(browser, server.url, { token, name: "Cara" });
  await connected(cara);
  assert.deepEqual((await sees(ann, 2)).others.map((one) => one.name), ["Ben", "Cara"]);
});

test("only hosts command, and the end of a session says why", async () => {
  const { session, token } = await server.room();
  const host = await server.invite(session, { role: "host" });
  const ann = await join(browser, server.url, { token: host.token, name: "Ann" });
  const ben = await join(browser, server.url, { token, name: "Ben" });
  await sees(ben, 1);
  await ben.evaluate(() => room.end());
  const [{ event: refusal }] = await eventually("a refusal", async () => {
    const found = await events(ben, "error");
    return found.length && found;
  });
  assert.deepEqual([refusal.code, (await snapshot(ben)).status], ["forbidden", "connected"]);

  const endsAt = (await snapshot(ben)).session.ends_at;
  await ann.evaluate(() => room.extend(600));
  await until(ben, ({ session }) => session.ends_at > endsAt);
  await ann.evaluate(() => room.end("the lesson is over"));
  const { closed, others } = await until(ben, ({ status }) => status === "closed");
  const { code, close_code, reason, recoverable } = closed;
  assert.deepEqual([code, close_code, reason, recoverable], ["session_ended", 4000, "completed", true]);
  assert.ok(closed.message.endsWith(".") && closed.hint.endsWith("."));
  assert.deepEqual(others, []);
});

test("a clock that is wrong shows no more time left than the server announced", async () => {
  const { token } = await server.room({ max_duration_s: 60, warn_before_s: [59] });
  const ben = await join(browser, server.url, { token, name: "Ben" });
  await until(ben, ({ warning }) => warning);
  for (const hours of [-1, 0, 1]) {
    const page = await open(browser);
    await page.addInitScript((ahead) => {
      const now = Date.now;
      Date.now = () => now() + ahead;
    }, hours * 3_600_000);
    await page.goto(`${server.url}/`);
    await join(browser, server.url, { token, name: `Ann ${hours}` }, { page });
    // Everybody was warned before she came, so she is told before any ping of hers is answered.
    await until(page, ({ warning }) => warning);
    const [{ now, event }] = await events(page, "warning");
    const left = Date.parse(event.ends_at) - now;
    assert.ok(left <= event.in_ms && left > event.in_ms - 5_000, `${hours} hours ahead: ${left} of ${event.in_ms} ms`);
  }
});

test("after close() no listener, timer or socket is left", async () => {
  const { token } = await server.room();
  const page = await open(browser, `${server.url}/`);
  await page.evaluate(countEverything);
  await join(browser, server.url, { token, name: "Ann" }, { page });
  await connected(page);
  await page.evaluate(async () => {
    const { watchInvite } = await import("/sdk/invite.js");
    room.set({ last: true });
    globalThis.invite = watchInvite(globalThis.client, "rci_x");
  });
  const busy = await page.evaluate(() => counted());
  assert.ok(busy.listeners >= 10 && busy.timers >= 1 && busy.sockets === 1, JSON.stringify(busy));
  await page.evaluate(async () => {
    await room.close();
    invite.close();
  });
  assert.deepEqual(await page.evaluate(() => counted()), { listeners: 0, timers: 0, sockets: 0, locks: 0 });
});

/** Goes and comes back twice. False: Chromium did not keep the page, which it need not, and loaded it anew. */
async function comesBackFromCache(caching) {
  const { token } = await server.room();
  const ben = await join(caching, server.url, { token, name: "Ben" });
  const ann = await join(caching, server.url, { token, name: "Ann" });
  const before = await sees(ann, 1);
  await ann.evaluate(() => addEventListener("pageshow", (event) => (globalThis.restored = event.persisted)));
  for (const times of [1, 2]) {
    await ann.goto(`${server.url}/docs`);
    await until(ben, ({ others }) => others[0].status === "reconnecting");
    await ann.goBack({ waitUntil: "commit" });
    const came = () => (globalThis.restored ? "restored" : !globalThis.room && document.readyState === "complete" && "anew");
    if (await eventually("the page is back", () => ann.evaluate(came)) === "anew") return false;
    const after = await sees(ann, 1);
    assert.equal(after.self.participant_id, before.self.participant_id, `time ${times}`);
    await until(ben, ({ others }) => others[0].status === "active");
  }
  assert.deepEqual(await events(ben, "leave"), []);
  return true;
}

test("a page out of the back/forward cache is in the room again", async () => {
  const caching = await launch({ ignoreDefaultArgs: ["--disable-back-forward-cache"] });
  try {
    let tries = 1;
    while (!await comesBackFromCache(caching)) assert.ok(++tries <= 3, "Chromium never kept the page");
  } finally {
    await caching.close();
  }
});

/** Runs in the page: counts what is open from here on. */
function countEverything() {
  const listeners = new Set();
  const timers = new Set();
  const sockets = new Set();
  let locks = 0;
  const target = EventTarget.prototype;
  const { addEventListener, removeEventListener } = target;
  target.addEventListener = function (type, listener, options) {
    const entry = [this, type, listener];
    if (this === window || this === document) {
      listeners.add(entry);
      const signal = options?.signal;
      if (signal) addEventListener.call(signal, "abort", () => listeners.delete(entry));
    }
    return addEventListener.call(this, type, listener, options);
  };
  target.removeEventListener = function (type, listener, options) {
    for (const entry of listeners) if (entry[0] === this && entry[1] === type && entry[2] === listener) listeners.delete(entry);
    return removeEventListener.call(this, type, listener, options);
  };
  for (const [set, clear] of [["setTimeout", "clearTimeout"], ["setInterval", "clearInterval"]]) {
    const [start, stop] = [window[set], window[clear]];
    window[set] = (run, ...rest) => {
      const id = start(() => {
        if (set === "setTimeout") timers.delete(id);
        run();
      }, ...rest);
      timers.add(id);
      return id;
    };
    window[clear] = (id) => {
      timers.delete(id);
      stop(id);
    };
  }
  window.WebSocket = class extends WebSocket {
    constructor(...rest) {
      super(...rest);
      sockets.add(this);
    }
  };
  const { request } = navigator.locks;
  navigator.locks.request = (...rest) => {
    locks++;
    return request.apply(navigator.locks, rest).finally(() => locks--);
  };
  globalThis.counted = () => ({
    listeners: listeners.size,
    timers: timers.size,
    sockets: [...sockets].filter((socket) => socket.readyState !== WebSocket.CLOSED).length,
    locks,
  });
}
