import assert from "node:assert/strict";
import { test } from "node:test";

import { renewalDelay } from "../../src/renewal.js";

const NOW = 1_800_000_000_000;
const jwt = (claims) => `h.${Buffer.from(JSON.stringify(claims)).toString("base64url")}.s`;
const delay = (validS) => renewalDelay(jwt({ exp: NOW / 1000 + validS }), NOW);

test("half a minute before the end, or half-way where that is sooner", () => {
  assert.equal(delay(3600), 3_570_000);
  assert.equal(delay(40), 20_000);
});

test("tokens that are over do not make a loop, and very long ones fit into a timer", () => {
  assert.equal(delay(-100), 5_000);
  assert.equal(delay(10 ** 9), 2 ** 31 - 1);
});

test("what tells no end is not renewed", () => {
  for (const token of [undefined, "rci_abc", "a.b.c", jwt({}), "..", jwt("text")]) assert.equal(renewalDelay(token, NOW), undefined);
});

test("claims with any letters can be read", () => {
  assert.equal(renewalDelay(jwt({ name: "Zoë ÿ?>~", exp: NOW / 1000 + 3600 }), NOW), 3_570_000);
});
