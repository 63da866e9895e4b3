/** A room as an app sees it: a snapshot that is replaced with every change, over connections that come and go. */

/** @import { ClientMessage, ErrorMessage, JoinedMessage, Participant, ServerMessage, SessionInfo } from "./protocol.d.ts" */
/** @import { Closed, GetToken } from "./line.js" */

import { Line } from "./line.js";
import { createMemory } from "./memory.js";
import { changed, NOBODY, others, replaced } from "./members.js";
import { isHidden, watchPage } from "./page.js";
import { OwnState } from "./state.js";
import { Store } from "./store.js";

/** The name under which connections show up in the logs of the server. */
const LIBRARY = "@rollcall/client 0.1.0";
/** A join must fit into 4 KiB with its token: a state that would make it larger than this follows in a frame of its own. */
const JOIN_CHARACTERS_MAX = 2_048;
/** How often activity is told while nothing depends on it, and while something does: an end to be put off, an `away`. */
const ACTIVE_INTERVAL_MS = 10_000;
const ACTIVE_URGENT_MS = 1_000;

/**
 * `reconnecting` and `offline` come back by themselves; `closed` is final.
 *
 * @typedef {"connecting" | "connected" | "reconnecting" | "offline" | "closed"} Status
 */

/**
 * @typedef {object} Warning
 * @property {string} code `session_idle` or `session_max_duration`
 * @property {string} ends_at on the server's clock; `room.now()` is the present there
 * @property {string} message a sentence for the visitor
 */

/**
 * @template [State=unknown]
 * @typedef {Omit<Participant, "state"> & {state: State | null}} Member
 */

/**
 * @template [State=unknown]
 * @typedef {object} Snapshot
 * @property {Status} status
 * @property {Closed | null} closed
 * @property {SessionInfo | null} session
 * @property {(Member<State> & {connection_id: string}) | null} self
 * @property {ReadonlyArray<Member<State>>} others in the order in which they came
 * @property {Warning | null} warning the session is about to end
 */

/**
 * @template [State=unknown]
 * @typedef {object} JoinOptions
 * @property {string} [session] what `getToken` needs to know; also names the room in the storage of the tab
 * @property {string} [token] an invite, instead of `getToken`
 * @property {string} [identity] counts only where the token does not fix one
 * @property {string} [name]
 * @property {State} [state] the state to come in with
 * @property {boolean} [activity] false: only `room.active()` counts as activity, not input and sight
 */

/**
 * What happens, and what a listener is given.
 *
 * @template [State=unknown]
 * @typedef {object} RoomEvents
 * @property {Snapshot<State>} status the status is another
 * @property {Member<State>} join somebody came
 * @property {{participant_id: string, reason: string, member: Member<State> | undefined}} leave somebody left
 * @property {Warning} warning
 * @property {{ends_at: string}} extended the end has moved
 * @property {Extract<ServerMessage, {type: "ended"}>} ended the session is over
 * @property {ErrorMessage} error a refusal that closes nothing, such as `forbidden`
 * @property {Closed} closed for good
 */

/** @template [State=unknown] */
export class Room {
  /** @type {Store<Snapshot<State>, RoomEvents<State>>} */
  #store = new Store({
    status: /** @type {Status} */ ("connecting"),
    closed: null,
    session: null,
    self: null,
    others: /** @type {ReadonlyArray<Member<State>>} */ ([]),
    warning: null,
  });
  #line;
  #options;
  #memory;
  #state;
  #stopWatching;
  #members = NOBODY;
  /** @type {JoinedMessage["self"] | undefined} */
  #own;
  #inputAt = Date.now();
  #activeSentAt = 0;

  /**
   * @param {string} url of the socket
   * @param {GetToken | undefined} getToken
   * @param {JoinOptions<State>} options
   */
  constructor(url, getToken, options) {
    this.#options = options;
    const { token, session, identity } = options;
    this.#state = new OwnState(options.state, (state) => this.#line.send({ type: "update", state }));
    this.#line = new Line(
      {
        join: (token, closedMsAgo) => this.#joinFrame(token, closedMsAgo),
        frame: (frame) => this.#receive(frame),
        waiting: (status) => this.#become({ status }),
        closed: (closed) => this.#finish(closed),
        active: () => this.#sayActive(),
      },
      { url, getToken, token, session },
    );
    this.#stopWatching = watchPage({
      wake: (seen) => this.#wake(seen),
      hide: () => this.#line.ping(),
      offline: () => this.#line.probe(),
      freeze: () => this.#memory?.leave(Date.now()),
      gone: () => this.#gone(),
      input: () => this.#input(),
    });
    // An invite is one person's way in, and its holder comes back over a reload. A token of the app is asked for anew:
    // somebody else may have signed in meanwhile.
    if (token) this.#memory = createMemory(`rollcall:${session ?? token.slice(-12)}:${identity ?? ""}`);
    this.#begin();
  }

  async #begin() {
    const kept = await this.#memory?.take();
    if (kept) [this.#line.resume, this.#line.closedAt] = [kept.resume, kept.closedAt];
    if (!this.#isClosed()) this.#line.open();
  }

  // --- what the server says ---

  /** @param {ServerMessage} frame */
  #receive(frame) {
    const { session } = this.#store.get();
    switch (frame.type) {
      case "joined":
        return this.#joined(frame);
      case "snapshot":
        return this.#store.update(this.#people(replaced(frame)));
      case "presence":
        return this.#presence(frame);
      case "warning":
        this.#store.update({ warning: frame });
        return this.#store.emit("warning", frame);
      case "extended":
        this.#store.update({ warning: null, session: session && { ...session, ends_at: frame.ends_at } });
        return this.#store.emit("extended", frame);
      case "ended": {
        const { code: reason, message, hint, recoverable } = frame;
        this.#store.emit("ended", frame);
        this.#line.close();
        return this.#finish({ code: "session_ended", close_code: 4000, message, hint, reason, recoverable });
      }
      case "error":
        return this.#store.emit("error", frame);
    }
  }

  /** @param {JoinedMessage} frame */
  #joined(frame) {
    const before = this.#store.get().self?.state;
    this.#own = frame.self;
    this.#memory?.keep(frame.resume);
    this.#state.confirm();
    this.#become({ status: "connected", session: frame.session, warning: null, ...this.#people(replaced(frame)) });
    // After too long an absence the participant was forgotten together with its state.
    if (before != null && this.#store.get().self?.state == null) this.set(before);
    this.#state.flush();
  }

  /** @param {Extract<ServerMessage, {type: "presence"}>} frame */
  #presence(frame) {
    const before = this.#members;
    const { members, gap } = changed(before, frame);
    if (gap) this.#line.send({ type: "snapshot" });
    if (members == before) return;
    if (frame.updates.some((one) => one.participant_id == this.#own?.participant_id)) this.#state.confirm();
    this.#store.update(this.#people(members));
    /** @param {string} id */
    const known = (id) => /** @type {Member<State> | undefined} */ (before.byId.get(id));
    for (const one of frame.joins) {
      if (!known(one.participant_id)) this.#store.emit("join", /** @type {Member<State>} */ (one));
    }
    for (const { participant_id, reason } of frame.leaves) {
      this.#store.emit("leave", { participant_id, reason, member: known(participant_id) });
    }
  }

  /** @param {typeof NOBODY} members @returns {Partial<Snapshot<State>>} */
  #people(members) {
    this.#members = members;
    const own = this.#own;
    const self = own && members.byId.get(own.participant_id);
    if (!self) return {};
    return {
      self: { ...self, state: /** @type {State} */ (this.#state.over(self.state)), connection_id: own.connection_id },
      others: /** @type {Member<State>[]} */ (others(members, own.participant_id)),
    };
  }

  /** @param {string} token @param {number | undefined} closed_ms_ago @returns {ClientMessage} */
  #joinFrame(token, closed_ms_ago) {
    const { identity, name } = this.#options;
    const client = { library: LIBRARY, closed_ms_ago };
    return this.#state.joinWith({ type: "join", token, identity, name, client }, JOIN_CHARACTERS_MAX);
  }

  /** @param {Partial<Snapshot<State>> & {status: Status}} change */
  #become(change) {
    const before = this.#store.get().status;
    this.#store.update(change);
    if (change.status != before) this.#store.emit("status", this.#store.get());
  }

  /** @param {Closed} closed */
  #finish(closed) {
    this.#state.stop();
    this.#stopWatching();
    this.#memory?.forget();
    this.#become({ status: "closed", closed, others: [], warning: null });
    this.#store.emit("closed", closed);
    this.#store.clear();
  }

  #isClosed() {
    return this.#store.get().status == "closed";
  }

  // --- the page and the person ---

  /** @param {boolean} seen */
  #wake(seen) {
    if (seen) this.#inputAt = Date.now();
    // A page that thaws is in use again.
    if (this.#line.resume) this.#memory?.keep(this.#line.resume);
    this.#line.wake();
  }

  /** The socket is closed by hand: an open one would keep the page out of the back/forward cache. */
  #gone() {
    this.#state.flush();
    this.#line.close();
    this.#memory?.leave(this.#line.closedAt ?? Date.now());
  }

  #input() {
    this.#inputAt = Date.now();
    const { warning, self } = this.#store.get();
    const interval = warning || self?.status == "away" ? ACTIVE_URGENT_MS : ACTIVE_INTERVAL_MS;
    if (this.#options.activity !== false && this.#inputAt - this.#activeSentAt > interval) this.#line.ping();
  }

  /** What a ping says: not seen, or seen and used since the last time, or nothing. */
  #sayActive() {
    if (this.#options.activity === false) return undefined;
    if (isHidden()) return false;
    if (this.#inputAt <= this.#activeSentAt) return undefined;
    this.#activeSentAt = Date.now();
    return true;
  }

  // --- what the app asks and does; every function may be passed on without its room ---

  /** @param {() => void} notify called after every change @returns {() => void} stops it */
  subscribe = (notify) => this.#store.subscribe(notify);

  /** The same object until something changes. */
  getSnapshot = () => this.#store.get();

  /**
   * @template {keyof RoomEvents<State>} Type
   * @param {Type} type
   * @param {(event: RoomEvents<State>[Type]) => void} listener
   * @returns {() => void} stops it
   */
  on = (type, listener) => this.#store.on(type, listener);

  /**
   * Replaces the own state, which everybody in the room sees: any JSON up to 4 KiB. Many calls in a row become few
   * frames; the last one wins. While there is no connection the state waits for the next one.
   *
   * @param {State} state
   */
  set = (state) => {
    if (this.#isClosed()) return;
    this.#state.set(state);
    this.#store.update(this.#people(this.#members));
  };

  /** Says that the person is active, where neither input nor sight of the page shows it. */
  active = () => this.#line.send({ type: "ping", active: true });

  /** The present on the server's clock, in milliseconds since 1970. */
  now = () => this.#line.now();

  /** The last measured round trip in milliseconds; Infinity before the first. */
  roundTrip = () => this.#line.roundTrip;

  /** Ends the session for everybody. Hosts only. @param {string} [reason] for the audit trail */
  end = (reason) => this.#line.send({ type: "end", reason });

  /** Moves the end of the session. Hosts only. @param {number} seconds */
  extend = (seconds) => this.#line.send({ type: "extend", by_s: seconds });

  /** Removes somebody. Hosts only. @param {string} participant_id */
  kick = (participant_id) => this.#line.send({ type: "kick", participant_id });

  /** Leaves: the others see it at once, and every listener, timer and socket is let go. Resolves when the server knows. */
  close = async () => {
    if (this.#isClosed()) return;
    this.#state.flush();
    const closed = this.#line.close(true);
    this.#finish({ code: "left", close_code: 1000, message: "You have left the session.", hint: "" });
    await closed;
  };
}
