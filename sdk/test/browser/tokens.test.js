// Tokens that the app's backend mints: renewed before they are over, refused, not to be had.

import assert from "node:assert/strict";
import { generateKeyPairSync, sign } from "node:crypto";
import { after, afterEach, before, test } from "node:test";

import { connected, events, join, launch, open, sees, snapshot, tidy, until } from "./browser.js";
import { Server } from "./server.js";

const { privateKey, publicKey } = generateKeyPairSync("ed25519");

let server;
let browser;
before(async () => {
  server = await Server.start();
  // The tenant is known only now: its key takes a restart.
  const key = { tenant: server.ready.tenant_id, kid: "test", algorithm: "EdDSA", public_key: publicKey.export({ type: "spki", format: "pem" }) };
  const text = `[[keys]]\n${Object.entries(key).map(([name, value]) => `${name} = ${JSON.stringify(value)}`).join("\n")}\n`;
  server.configure({ AUTH__JWT_KEYS_FILE: await server.write("keys.toml", text) });
  await server.stop();
  await server.run();
  browser = await launch();
});
afterEach(() => tidy(browser));
after(async () => {
  await browser?.close();
  await server?.end();
});

/** What an app's backend does. */
function mint(session, identity, validS) {
  const encode = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const now = Math.floor(Date.now() / 1000);
  const claims = { sub: identity, name: identity, aud: "rollcall", exp: now + validS, rollcall: { session: session.id } };
  const body = `${encode({ alg: "EdDSA", kid: "test", typ: "JWT" })}.${encode(claims)}`;
  return `${body}.${sign(null, Buffer.from(body), privateKey).toString("base64url")}`;
}

/** Joins with tokens of a backend; `give` answers each request. */
async function joinWith(give, join) {
  const page = await open(browser, `${server.url}/`);
  const requests = [];
  await page.exposeFunction("askBackend", (request) => {
    requests.push(request);
    return give(request);
  });
  await page.evaluate(async (join) => {
    const { createRollcall } = await import("/sdk/rollcall.js");
    globalThis.events = [];
    globalThis.room = createRollcall({ getToken: (request) => globalThis.askBackend(request) }).join(join);
    for (const type of ["status", "leave", "closed"]) room.on(type, (event) => events.push({ type, event: structuredClone(event) }));
  }, join);
  return { page, requests };
}

test("a token is renewed before it is over, and nobody sees it", async () => {
  const { session, token } = await server.room();
  const ben = await join(browser, server.url, { token, name: "Ben" });
  const statuses = [];
  await ben.exposeFunction("saw", (status) => statuses.push(status));
  await ben.evaluate(() => room.subscribe(() => room.getSnapshot().others.forEach((one) => globalThis.saw(one.status))));
  const { page, requests } = await joinWith(() => mint(session, "ann", 12), { session: session.id });
  const before = await sees(page, 1);
  assert.deepEqual(requests, [{ session: session.id, reason: "join" }]);
  const after = await until(page, ({ self, status }) => status === "connected" && self.connection_id !== before.self.connection_id);
  assert.deepEqual(requests[1], { session: session.id, reason: "refresh" });
  assert.equal(after.self.participant_id, before.self.participant_id);
  await until(ben, ({ others }) => others[0].connections === 1);
  assert.deepEqual([...new Set(statuses)], ["active"]);
  assert.deepEqual(await events(ben, "leave"), []);
  assert.deepEqual((await events(page, "status")).map(({ event }) => event.status), ["connected"]);
});

test("the end of the token counts after a reconnect too, and a failing renewal is tried again", async () => {
  const { session, token } = await server.room();
  const ben = await join(browser, server.url, { token, name: "Ben" });
  let failures = 1;
  const give = ({ reason }) => {
    if (reason === "refresh" && failures-- > 0) throw new Error("the backend is away");
    return mint(session, "ann", 16);
  };
  const { page, requests } = await joinWith(give, { session: session.id });
  await sees(page, 1);
  await server.stop();
  await until(page, ({ status }) => status === "reconnecting");
  await server.run();
  const before = await sees(page, 1);
  assert.equal(requests.length, 1, "the resume token was enough");
  const statusesBefore = (await events(page, "status")).length;
  await until(page, ({ self, status }) => status === "connected" && self.connection_id !== before.self.connection_id);
  assert.deepEqual(requests.map(({ reason }) => reason), ["join", "refresh", "refresh"]);
  assert.equal((await events(page, "status")).length, statusesBefore, "a renewal is no interruption");
  assert.deepEqual(await events(ben, "leave"), []);
});

test("a backend that fails is asked again", async () => {
  const { session } = await server.room();
  let failures = 2;
  const give = () => {
    if (failures-- > 0) throw new Error("the backend is away");
    return mint(session, "ann", 3600);
  };
  const { page, requests } = await joinWith(give, { session: session.id });
  await connected(page);
  assert.equal(requests.length, 3);
});

test("a token that is over is refreshed; one that never can be is final", async () => {
  const { session } = await server.room();
  const { page, requests } = await joinWith(({ reason }) => mint(session, "ann", reason === "join" ? -60 : 3600), { session: session.id });
  await connected(page);
  assert.deepEqual(requests.map(({ reason }) => reason), ["join", "refresh"]);

  const wrong = await joinWith(() => "a.b.c", { session: session.id });
  const { closed } = await until(wrong.page, ({ status }) => status === "closed");
  assert.deepEqual([closed.code, closed.close_code, wrong.requests.length], ["token_invalid", 4008, 1]);
  assert.ok(closed.message.endsWith(".") && closed.hint.length > 20);

  const signedOut = await joinWith(() => null, { session: session.id });
  assert.equal((await until(signedOut.page, ({ status }) => status === "closed")).closed.code, "no_token");
});

test("final refusals are never tried again", async () => {
  const { session } = await server.room();
  const revoked = await server.invite(session);
  await server.api("DELETE", `/invites/${revoked.id}`);
  const page = await open(browser, `${server.url}/`);
  let sockets = 0;
  page.on("websocket", () => sockets++);
  await join(browser, server.url, { token: revoked.token }, { page });
  await until(page, ({ status }) => status === "closed");
  await page.evaluate(() => {
    dispatchEvent(new Event("online"));
    document.dispatchEvent(new Event("visibilitychange"));
  });
  // Long enough for several of the first pauses.
  await page.evaluate(() => new Promise((done) => setTimeout(done, 2_000)));
  assert.equal(sockets, 1);
  const { closed } = await snapshot(page);
  assert.deepEqual([closed.code, closed.close_code], ["invite_revoked", 4003]);
});
