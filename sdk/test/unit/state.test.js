import assert from "node:assert/strict";
import { beforeEach, mock, test } from "node:test";

import { INTERVAL_MS, OwnState } from "../../src/state.js";

let sent;
let connected;
const create = (first) => new OwnState(first, (state) => connected && sent.push(state) > 0);

beforeEach(() => {
  mock.timers.reset();
  mock.timers.enable({ apis: ["setTimeout", "Date"], now: 1_000_000 });
  sent = [];
  connected = true;
});

test("changes in one go become one frame with the last of them", () => {
  const state = create();
  for (const number of [1, 2, 3]) state.set({ number });
  assert.deepEqual(sent, []);
  mock.timers.tick(0);
  assert.deepEqual(sent, [{ number: 3 }]);
});

test("later changes wait for their turn, and none is lost", () => {
  const state = create();
  state.set(1);
  mock.timers.tick(0);
  state.set(2);
  mock.timers.tick(INTERVAL_MS - 1);
  state.set(3);
  assert.deepEqual(sent, [1]);
  mock.timers.tick(1);
  assert.deepEqual(sent, [1, 3]);
  mock.timers.tick(10 * INTERVAL_MS);
  assert.deepEqual(sent, [1, 3], "nothing is sent twice");
});

test("the app's object may change after it was given", () => {
  const state = create();
  const object = { mood: "glad" };
  state.set(object);
  object.mood = "sad";
  mock.timers.tick(0);
  assert.deepEqual(sent, [{ mood: "glad" }]);
});

test("without a connection the newest state waits for the next", () => {
  const state = create();
  connected = false;
  state.set(1);
  mock.timers.tick(0);
  state.set(2);
  mock.timers.tick(INTERVAL_MS);
  assert.deepEqual(sent, []);
  assert.deepEqual(state.joinWith({ type: "join" }, 1_000), { type: "join", state: 2 });
  connected = true;
  state.flush();
  assert.deepEqual(sent, [], "it went with the join");
});

test("a state that is too large for the join follows it", () => {
  const state = create("x".repeat(100));
  assert.deepEqual(state.joinWith({ type: "join" }, 50), { type: "join" });
  state.flush();
  assert.deepEqual(sent, ["x".repeat(100)]);
});

test("what was set is shown until the server shows it, and not after", () => {
  const state = create();
  state.set("mine");
  state.confirm();
  assert.equal(state.over("old"), "mine", "not sent yet: the server cannot have confirmed it");
  mock.timers.tick(0);
  assert.equal(state.over("old"), "mine");
  state.confirm();
  assert.equal(state.over("of another tab"), "of another tab");
});

test("nothing and null are states too", () => {
  const state = create();
  assert.deepEqual(state.joinWith({ type: "join" }, 1_000), { type: "join" });
  state.set(undefined);
  mock.timers.tick(0);
  assert.deepEqual(sent, [null]);
});

test("stopped, it sends nothing more", () => {
  const state = create();
  state.set(1);
  state.stop();
  mock.timers.tick(INTERVAL_MS);
  assert.deepEqual(sent, []);
});
