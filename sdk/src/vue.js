/** Vue bindings. */

/** @import { JoinOptions, Rollcall, Room } from "./rollcall.js" */

import { computed, onScopeDispose, shallowRef } from "vue";
import { watchInvite } from "./invite.js";

/**
 * Joins, and leaves when the component or effect scope goes.
 *
 * @template [State=unknown]
 * @param {Rollcall} client
 * @param {JoinOptions<State>} options
 */
export function useRoom(client, options) {
  /** @type {Room<State>} */
  const room = client.join(options);
  const snapshot = follow(room);
  onScopeDispose(() => void room.close());
  return {
    room,
    snapshot,
    status: computed(() => snapshot.value.status),
    self: computed(() => snapshot.value.self),
    others: computed(() => snapshot.value.others),
  };
}

/**
 * Whether an invite is good, for how long, and why not. Counts down.
 *
 * @param {Rollcall} client
 * @param {string} token
 */
export function useInvite(client, token) {
  const invite = watchInvite(client, token);
  onScopeDispose(invite.close);
  return follow(invite);
}

/**
 * @template Value
 * @param {{getSnapshot: () => Value, subscribe: (notify: () => void) => () => void}} source
 */
function follow(source) {
  const value = shallowRef(source.getSnapshot());
  onScopeDispose(source.subscribe(() => (value.value = source.getSnapshot())));
  return value;
}
