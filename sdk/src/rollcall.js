/**
 * Browser client of Rollcall: who is here, live. No dependencies, nothing happens on import.
 *
 *     const client = createRollcall({ url: "https://presence.example.com", getToken: fetchToken });
 *     const room = client.join({ session: "lesson-12", name: "Ann" });
 *     room.subscribe(() => render(room.getSnapshot()));
 */

import { Room } from "./room.js";

/** @typedef {import("./line.js").Closed} Closed */
/** @typedef {import("./line.js").GetToken} GetToken */
/** @typedef {import("./line.js").TokenRequest} TokenRequest */
/** @typedef {import("./room.js").Status} Status */
/** @typedef {import("./room.js").Warning} Warning */
/** @template [State=unknown] @typedef {import("./room.js").JoinOptions<State>} JoinOptions */
/** @template [State=unknown] @typedef {import("./room.js").Member<State>} Member */
/** @template [State=unknown] @typedef {import("./room.js").RoomEvents<State>} RoomEvents */
/** @template [State=unknown] @typedef {import("./room.js").Snapshot<State>} Snapshot */

/**
 * @typedef {object} RollcallOptions
 * @property {string} [url] of the server, as a page reaches it; without, the server that delivered the page
 * @property {GetToken} [getToken] asks your backend for a join token. May fail: it is asked again. `null` means that there
 *   is none to be had (signed out): the room is closed
 */

/**
 * What the server says about an invite.
 *
 * @typedef {object} InviteCheck
 * @property {boolean} valid
 * @property {string | null} code why it is not
 * @property {string} message a sentence for the visitor
 * @property {{id: string, title: string | null, status: string} | null} [session]
 * @property {string | null} [role]
 * @property {string | null} [not_before]
 * @property {string | null} [expires_at]
 * @property {number | null} [expires_in_ms]
 */

/** @typedef {ReturnType<typeof createRollcall>} Rollcall */

/** @param {RollcallOptions} [options] */
export function createRollcall({ url = "", getToken } = {}) {
  /** @param {string} path */
  const at = (path) => new URL(path, new URL(url.replace(/\/*$/, "/"), globalThis.location?.href));

  return {
    /**
     * Comes in, and comes back whenever the connection is lost, until `room.close()` or a final refusal.
     *
     * @template [State=unknown]
     * @param {JoinOptions<State>} options
     * @returns {Room<State>}
     */
    join(options) {
      const socket = at("v1/ws");
      socket.protocol = socket.protocol.replace("http", "ws");
      return new Room(socket.href, getToken, options);
    },

    /**
     * Asks whether an invite would let its holder in, without using it.
     *
     * @param {string} token
     * @returns {Promise<InviteCheck>} rejects when the server cannot be reached or asks to wait
     */
    async checkInvite(token) {
      const response = await fetch(at("v1/invites/check"), {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ token }),
      });
      const answer = await response.json();
      if (!response.ok) throw new Error(answer.detail ?? answer.title);
      return answer;
    },
  };
}

export { Room };
