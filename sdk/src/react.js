/** React bindings. Every hook follows the room's snapshot and renders again only when what it returns has changed. */

/** @import { InviteSnapshot } from "./invite.js" */
/** @import { JoinOptions, Member, Rollcall, Snapshot } from "./rollcall.js" */

import { useEffect, useRef, useState, useSyncExternalStore } from "react";
import { watchInvite } from "./invite.js";
import { Room } from "./rollcall.js";

/** @type {Snapshot<any>} */
const NO_ROOM = { status: "connecting", closed: null, session: null, self: null, others: [], warning: null };
/** @type {InviteSnapshot} */
const NO_INVITE = { status: "checking", check: null, left_ms: null, message: null };
const nothing = () => () => {};

/**
 * Joins while the component is mounted, and leaves when it goes. `null` options: not yet. A new `session`, `token` or
 * `identity` is another room. Returns null before the first effect.
 *
 * @template [State=unknown]
 * @param {Rollcall} client
 * @param {JoinOptions<State> | null} options
 * @returns {Room<State> | null}
 */
export function useRoom(client, options) {
  const [room, setRoom] = useState(/** @type {Room<State> | null} */ (null));
  /** @type {import("react").RefObject<{room: Room<State>, client: Rollcall, key: string, timer?: any} | null>} */
  const held = useRef(null);
  const key = options ? JSON.stringify([options.session, options.token, options.identity]) : "";
  useEffect(() => {
    if (!options) return setRoom(null);
    // Strict mode unmounts and mounts again at once: that must not be a leave that everybody sees.
    const before = held.current;
    const same = before?.client == client && before?.key == key && before.room.getSnapshot().status != "closed";
    clearTimeout(same ? before.timer : undefined);
    const mine = same ? before : { room: client.join(options), client, key };
    held.current = mine;
    setRoom(mine.room);
    return () => void (mine.timer = setTimeout(() => mine.room.close()));
  }, [client, key]);
  return room;
}

/**
 * What a selector makes of the snapshot.
 *
 * @template State
 * @template Selected
 * @param {Room<State> | null} room
 * @param {(snapshot: Snapshot<State>) => Selected} select
 * @param {(a: Selected, b: Selected) => boolean} [isEqual] shallow equality if absent
 * @returns {Selected}
 */
export function useRoomState(room, select, isEqual = isShallowEqual) {
  const last = useRef(/** @type {{value: Selected} | null} */ (null));
  const get = () => {
    const value = select(room ? room.getSnapshot() : NO_ROOM);
    if (!last.current || !isEqual(last.current.value, value)) last.current = { value };
    return last.current.value;
  };
  return useSyncExternalStore(room ? room.subscribe : nothing, get, get);
}

/**
 * The others in the room, or what a selector makes of them.
 *
 * @template State
 * @template [Selected=ReadonlyArray<Member<State>>]
 * @param {Room<State> | null} room
 * @param {(others: ReadonlyArray<Member<State>>) => Selected} [select]
 * @param {(a: Selected, b: Selected) => boolean} [isEqual]
 * @returns {Selected}
 */
export function useOthers(room, select = /** @type {any} */ ((/** @type {any} */ others) => others), isEqual) {
  return useRoomState(room, ({ others }) => select(others), isEqual);
}

/** The own member; null before the first join. @template State @param {Room<State> | null} room */
export const useSelf = (room) => useRoomState(room, ({ self }) => self);

/** Status, why it is closed, and the warning before an end. @template State @param {Room<State> | null} room */
export const useStatus = (room) =>
  useRoomState(room, ({ status, closed, warning, session }) => ({ status, closed, warning, session }));

/**
 * Whether an invite is good, for how long, and why not. Counts down.
 *
 * @param {Rollcall} client
 * @param {string} token
 * @returns {InviteSnapshot}
 */
export function useInvite(client, token) {
  const [watch, setWatch] = useState(/** @type {ReturnType<typeof watchInvite> | null} */ (null));
  useEffect(() => {
    const invite = watchInvite(client, token);
    setWatch(invite);
    return invite.close;
  }, [client, token]);
  const get = () => (watch ? watch.getSnapshot() : NO_INVITE);
  return useSyncExternalStore(watch ? watch.subscribe : nothing, get, get);
}

/** @param {any} a @param {any} b */
function isShallowEqual(a, b) {
  if (Object.is(a, b)) return true;
  if (typeof a != "object" || typeof b != "object" || !a || !b) return false;
  const keys = Object.keys(a);
  return keys.length == Object.keys(b).length && keys.every((key) => Object.is(a[key], b[key]));
}
