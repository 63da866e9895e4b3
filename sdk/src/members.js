/** Who is in the room: what the frames of the server make of a list. Pure. */

/** @import { Participant, ServerMessage } from "./protocol.d.ts" */

/**
 * @typedef {object} Members
 * @property {number} seq the number of the last change that is in the list
 * @property {ReadonlyMap<string, Participant>} byId
 */

/** @type {Members} */
export const NOBODY = { seq: -1, byId: new Map() };

/**
 * The list as a `joined` or `snapshot` frame has it.
 *
 * @param {{seq: number, participants: Participant[]}} frame
 * @returns {Members}
 */
export function replaced({ seq, participants }) {
  return { seq, byId: new Map(participants.map((one) => [one.participant_id, one])) };
}

/**
 * The list after a `presence` frame. A frame that is in the list already changes nothing. `gap` tells that frames are
 * missing before this one: the caller asks for a snapshot.
 *
 * @param {Members} members
 * @param {Extract<ServerMessage, {type: "presence"}>} frame
 * @returns {{members: Members, gap: boolean}}
 */
export function changed(members, { seq, joins, updates, leaves }) {
  if (seq <= members.seq) return { members, gap: false };
  const byId = new Map(members.byId);
  for (const one of [...joins, ...updates]) byId.set(one.participant_id, one);
  for (const one of leaves) byId.delete(one.participant_id);
  return { members: { seq, byId }, gap: seq != members.seq + 1 };
}

/**
 * Everybody but one, in the order in which they came.
 *
 * @param {Members} members
 * @param {string | undefined} own
 * @returns {Participant[]}
 */
export function others(members, own) {
  const list = [...members.byId.values()].filter((one) => one.participant_id != own);
  // Times of the server all have the same width, so that text sorts like time.
  const key = (/** @type {Participant} */ one) => one.joined_at + one.participant_id;
  return list.sort((a, b) => (key(a) < key(b) ? -1 : 1));
}
