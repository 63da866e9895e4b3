import assert from "node:assert/strict";
import { mock, test } from "node:test";

import { Store } from "../../src/store.js";

test("a snapshot is replaced and never changed", () => {
  const store = new Store({ a: 1, b: 1 });
  const before = store.get();
  assert.equal(store.get(), before);
  store.update({ a: 2 });
  assert.deepEqual([before, store.get()], [{ a: 1, b: 1 }, { a: 2, b: 1 }]);
});

test("who subscribes is told until they stop", () => {
  const store = new Store({ a: 1 });
  const told = [];
  const stop = store.subscribe(() => told.push(store.get().a));
  store.update({ a: 2 });
  stop();
  store.update({ a: 3 });
  assert.deepEqual(told, [2]);
});

test("who stops or starts while being told disturbs nobody", () => {
  const store = new Store({ a: 1 });
  const told = [];
  const stopFirst = store.subscribe(() => {
    told.push("first");
    stopFirst();
    store.subscribe(() => told.push("late"));
  });
  store.subscribe(() => told.push("second"));
  store.update({ a: 2 });
  assert.deepEqual(told.splice(0), ["first", "second"]);
  store.update({ a: 3 });
  assert.deepEqual(told, ["second", "late"]);
});

test("events reach those who listen for them, until they stop", () => {
  const store = new Store({});
  const heard = [];
  const stop = store.on("leave", (event) => heard.push(event));
  store.on("join", () => heard.push("wrong"));
  store.emit("leave", 1);
  stop();
  store.emit("leave", 2);
  store.on("leave", (event) => heard.push(event));
  store.clear();
  store.emit("leave", 3);
  assert.deepEqual(heard, [1]);
});

test("a mistake in one listener is reported and costs nobody else their turn", () => {
  const reported = [];
  const later = mock.method(globalThis, "queueMicrotask", (report) => reported.push(report));
  const store = new Store({ a: 1 });
  const told = [];
  const mistake = () => {
    throw new Error("a mistake");
  };
  store.subscribe(mistake);
  store.subscribe(() => told.push("subscriber"));
  store.on("leave", mistake);
  store.on("leave", () => told.push("listener"));
  store.update({ a: 2 });
  store.emit("leave", {});
  later.mock.restore();
  assert.deepEqual(told, ["subscriber", "listener"]);
  assert.equal(reported.length, 2);
  assert.throws(reported[0], /a mistake/);
});
