/** An invite as a visitor sees it: good and for how long, or not and why. Keeps itself up to date. */

/** @import { InviteCheck, Rollcall } from "./rollcall.js" */

/** How often the remaining time is told. */
const TICK_MS = 1_000;
/** The server decides what is over; it is asked a moment after its own deadline. */
const AFTER_MS = 100;
/** An answer that is younger than this is believed when the page is looked at again. */
const FRESH_MS = 5_000;
/** Pause before a server that could not be reached is asked again. */
const RETRY_MS = 3_000;
/** The longest time that a browser's timer can wait. */
const TIMER_MS_MAX = 2 ** 31 - 1;

/**
 * @typedef {object} InviteSnapshot
 * @property {"checking" | "good" | "refused" | "unreachable"} status
 * @property {InviteCheck | null} check what the server said
 * @property {number | null} left_ms until a good invite expires, or until one begins that is not valid yet
 * @property {string | null} message a sentence for the visitor
 */

/**
 * Checks an invite and watches it until `close()`. Nothing is used up by it.
 *
 * @param {Rollcall} client
 * @param {string} token
 */
export function watchInvite(client, token) {
  /** @type {InviteSnapshot} */
  let snapshot = { status: "checking", check: null, left_ms: null, message: null };
  /** @type {Set<() => void>} */
  const subscribers = new Set();
  const listening = new AbortController();
  const { signal } = listening;
  /** When the next thing happens to the invite, on the clock of this computer. */
  let turnsAt = Infinity;
  let checkedAt = 0;
  /** @type {any} */
  let timer;

  /** @param {Partial<InviteSnapshot>} change */
  const update = (change) => {
    snapshot = { ...snapshot, ...change };
    for (const notify of [...subscribers]) notify();
  };
  /** @param {number} milliseconds @param {() => void} then */
  const after = (milliseconds, then) => {
    clearTimeout(timer);
    if (!signal.aborted) timer = setTimeout(then, Math.min(milliseconds, TIMER_MS_MAX));
  };

  async function check() {
    clearTimeout(timer);
    checkedAt = Date.now();
    try {
      const answer = await client.checkInvite(token);
      if (signal.aborted) return;
      turnsAt = Date.now() + untilTurn(answer);
      update({ status: answer.valid ? "good" : "refused", check: answer, message: answer.message });
      tick();
    } catch (error) {
      if (signal.aborted) return;
      const message = error instanceof TypeError ? "The server cannot be reached." : String(Object(error).message);
      update({ status: "unreachable", message });
      after(RETRY_MS, check);
    }
  }

  function tick() {
    if (turnsAt == Infinity) return update({ left_ms: null });
    const left_ms = Math.max(0, turnsAt - Date.now());
    update({ left_ms });
    after(left_ms ? Math.min(TICK_MS, left_ms) : AFTER_MS, left_ms ? tick : check);
  }

  const look = () => Date.now() - checkedAt > FRESH_MS && check();
  globalThis.document?.addEventListener("visibilitychange", look, { signal });
  globalThis.window?.addEventListener("online", check, { signal });
  check();

  return {
    /** @param {() => void} notify @returns {() => void} stops it */
    subscribe(notify) {
      subscribers.add(notify);
      return () => void subscribers.delete(notify);
    },
    getSnapshot: () => snapshot,
    /** Lets every listener and timer go. */
    close() {
      listening.abort();
      clearTimeout(timer);
      subscribers.clear();
    },
  };
}

/** Milliseconds until the answer will be another. @param {InviteCheck} answer */
function untilTurn({ valid, code, not_before, expires_at, expires_in_ms }) {
  if (valid) return expires_in_ms ?? Infinity;
  if (code != "invite_not_yet_valid" || !not_before || !expires_at || expires_in_ms == null) return Infinity;
  // The answer does not say what time the server has, but how long it still is to an instant that it names.
  const serverNow = Date.parse(expires_at) - expires_in_ms;
  return Math.max(0, Date.parse(not_before) - serverNow);
}
