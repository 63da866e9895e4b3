import assert from "node:assert/strict";
import { test } from "node:test";

import { ceiling, pause } from "../../src/backoff.js";

/** The same numbers every time (mulberry32). */
function seeded(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let mixed = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

test("ceilings grow to a limit", () => {
  const all = Array.from({ length: 60 }, (_, index) => ceiling(index + 1));
  assert.deepEqual(all, [...all].sort((a, b) => a - b));
  assert.deepEqual([all[0], all[1], all.at(-1)], [500, 1_000, 30_000]);
});

test("pauses fill the whole room below the ceiling", () => {
  assert.equal(pause(1, () => 0), 0);
  assert.ok(pause(50, () => 0.999) < 30_000);
  const random = seeded(1);
  const pauses = Array.from({ length: 2_000 }, () => pause(5, random));
  for (const quarter of [0, 1, 2, 3]) {
    const count = pauses.filter((one) => Math.floor((one / ceiling(5)) * 4) === quarter).length;
    assert.ok(count > 400 && count < 600, `quarter ${quarter}: ${count}`);
  }
});

test("after a cut of 5 s the next attempt is less than a second away, as a rule", () => {
  const random = seeded(2);
  const waits = Array.from({ length: 10_000 }, () => {
    let at = 0;
    for (let attempt = 1; at < 5_000; attempt++) at += pause(attempt, random);
    return at - 5_000;
  }).sort((a, b) => a - b);
  assert.ok(waits[5_000] < 500, `median ${waits[5_000]}`);
  assert.ok(waits[9_900] <= 1_500, `99 %: ${waits[9_900]}`);
});
