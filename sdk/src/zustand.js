/** Zustand, and stores that look like it. Needs nothing of Zustand itself. */

/** @import { Room, Snapshot } from "./rollcall.js" */

/**
 * A room as a store to read: `useStore(roomStore(room), (snapshot) => snapshot.others)`.
 *
 * @template [State=unknown]
 * @param {Room<State>} room
 */
export function roomStore(room) {
  const first = room.getSnapshot();
  return {
    getState: room.getSnapshot,
    getInitialState: () => first,
    /** @param {(snapshot: Snapshot<State>, before: Snapshot<State>) => void} listener @returns {() => void} stops it */
    subscribe(listener) {
      let before = room.getSnapshot();
      return room.subscribe(() => {
        const now = room.getSnapshot();
        const last = before;
        before = now;
        listener(now, last);
      });
    },
  };
}

/**
 * Keeps a part of an existing store equal to what `pick` makes of the room.
 *
 * @template State
 * @template {object} Part
 * @param {{setState: (part: Part) => void}} store
 * @param {Room<State>} room
 * @param {(snapshot: Snapshot<State>) => Part} pick
 * @returns {() => void} stops it
 */
export function bindRoom(store, room, pick) {
  const write = () => store.setState(pick(room.getSnapshot()));
  write();
  return room.subscribe(write);
}
