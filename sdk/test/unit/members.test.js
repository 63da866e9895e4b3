import assert from "node:assert/strict";
import { test } from "node:test";

import { changed, NOBODY, others, replaced } from "../../src/members.js";

const person = (id, fields = {}) => ({ participant_id: id, joined_at: `2026-01-01T00:00:0${id}.000000Z`, status: "active", ...fields });
const diff = (seq, { joins = [], updates = [], leaves = [] }) => ({ type: "presence", seq, joins, updates, leaves });
const ids = (members, own) => others(members, own).map((one) => one.participant_id);

test("joins, updates and leaves", () => {
  let members = replaced({ seq: 4, participants: [person("2"), person("1")] });
  const before = members;
  ({ members } = changed(members, diff(5, { joins: [person("3")], updates: [person("2", { status: "away" })], leaves: [{ participant_id: "1" }] })));
  assert.deepEqual(ids(members), ["2", "3"]);
  assert.equal(members.byId.get("2").status, "away");
  assert.deepEqual(ids(before), ["1", "2"], "the list before is as it was");
});

test("what is in the list already changes nothing", () => {
  const members = replaced({ seq: 7, participants: [person("1")] });
  for (const seq of [6, 7]) {
    const after = changed(members, diff(seq, { leaves: [{ participant_id: "1" }] }));
    assert.deepEqual(after, { members, gap: false });
  }
});

test("a gap is told, and what came is shown meanwhile", () => {
  const members = replaced({ seq: 1, participants: [] });
  const { members: after, gap } = changed(members, diff(3, { joins: [person("1")] }));
  assert.equal(gap, true);
  assert.deepEqual(ids(after), ["1"]);
});

test("a leave of somebody unknown is ignored", () => {
  const { members } = changed(replaced({ seq: 1, participants: [] }), diff(2, { leaves: [{ participant_id: "9" }] }));
  assert.deepEqual(ids(members), []);
});

test("others are in the order in which they came, without oneself", () => {
  const members = replaced({ seq: 1, participants: [person("3"), person("1"), person("2")] });
  assert.deepEqual(ids(members, "2"), ["1", "3"]);
  assert.deepEqual(ids(NOBODY, "2"), []);
});
