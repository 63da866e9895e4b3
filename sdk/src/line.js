/** The way to the server: tokens, attempts, pauses. Connections come and go; the line stays until it is closed for good. */

/** @import { ClientMessage, JoinedMessage, ServerMessage } from "./protocol.d.ts" */
/** @import { Connection, End } from "./connection.js" */

import { pause } from "./backoff.js";
import { connect, PROBE_TIMEOUT_MS } from "./connection.js";
import { isOffline } from "./page.js";
import { renewalDelay } from "./renewal.js";

/** An attempt that is younger than this is left alone when the page wakes. */
const ATTEMPT_FRESH_MS = 1_000;

/** What the hundreds of a close code tell: see docs/ERROR_CODES.md. */
const FINAL = 40;
const REFRESH = 41;
const LATER = 42;
const TOKEN_INVALID = 4008;

/**
 * Why a room is closed for good.
 *
 * @typedef {object} Closed
 * @property {string} code an error code of docs/ERROR_CODES.md, `left` after `close()`, or `no_token`
 * @property {number} close_code of the WebSocket
 * @property {string} message a sentence for the visitor
 * @property {string} hint for the developer
 * @property {string} [reason] of a session that ended: `completed`, `idle`, `max_duration`, `abandoned`
 * @property {boolean} [recoverable]
 */

const NO_TOKEN = {
  code: "no_token",
  close_code: 0,
  message: "Please sign in again.",
  hint: "getToken had no token to give, or there is neither a token nor a getToken.",
};

/**
 * @typedef {object} TokenRequest
 * @property {string} [session] as given to `join`
 * @property {"join" | "refresh"} reason `refresh`: the token before is over or about to be
 */

/** @typedef {(request: TokenRequest) => Promise<string | null | undefined> | string | null | undefined} GetToken */

/**
 * @typedef {object} LineOwner
 * @property {(token: string, closedMsAgo: number | undefined) => ClientMessage} join the first frame of a connection
 * @property {(frame: ServerMessage) => void} frame
 * @property {(status: "connecting" | "reconnecting" | "offline") => void} waiting
 * @property {(closed: Closed) => void} closed for good, unless we close it ourselves
 * @property {() => boolean | undefined} active what a ping says of the person
 */

export class Line {
  /** The last measured round trip in milliseconds. */
  roundTrip = Infinity;
  /** The token to come back with as the same participant. @type {string | undefined} */
  resume;
  /** When the last connection was last known to be alive, on the clock of this computer. @type {number | undefined} */
  closedAt;

  #owner;
  #url;
  #getToken;
  #invite;
  #session;
  /** The last one that the app gave: its end counts, also after coming back with a resume token. @type {string | undefined} */
  #appToken;
  /** The one that is used. @type {Connection | undefined} */
  #connection;
  /** One that has not joined yet. @type {Connection | undefined} */
  #opening;
  /** When the attempt that is under way began; 0: none is. */
  #tryingSince = 0;
  /** Attempts are numbered: what a given-up one still brings is ignored. */
  #turn = 0;
  #failures = 0;
  /** The server asked not to be bothered before. */
  #notBefore = 0;
  #refresh = false;
  #hasJoined = false;
  #bestRoundTrip = Infinity;
  #serverAhead = 0;
  /** @type {any} */
  #retryTimer;
  /** @type {any} */
  #renewTimer;

  /**
   * @param {LineOwner} owner
   * @param {{url: string, getToken?: GetToken, token?: string, session?: string}} way
   */
  constructor(owner, { url, getToken, token, session }) {
    this.#owner = owner;
    this.#url = url;
    this.#getToken = getToken;
    this.#invite = token;
    this.#session = session;
  }

  /** Gets a token and opens a connection. One that is in use stays until the new one has joined. */
  async open() {
    const turn = ++this.#turn;
    clearTimeout(this.#retryTimer);
    this.#opening?.close();
    this.#opening = undefined;
    this.#tryingSince = Date.now();
    if (!this.#connection) this.#owner.waiting(this.#waiting());
    const resume = this.#connection ? undefined : this.resume;
    let token = resume ?? this.#invite;
    try {
      token ??= this.#appToken = (await this.#getToken?.(this.#request())) ?? undefined;
    } catch {
      // The backend of the app is as far away as ours may be: it is asked again.
      if (turn == this.#turn) this.#retry();
      return;
    }
    if (turn != this.#turn) return;
    if (token) this.#connect(token, resume);
    else this.#finish({ ...NO_TOKEN });
  }

  /**
   * @param {string} token
   * @param {string | undefined} resume the same, where it is a resume token
   */
  #connect(token, resume) {
    const closedMsAgo = () => (resume && this.closedAt ? Math.max(0, Date.now() - this.closedAt) : undefined);
    const connection = connect(this.#url, () => this.#owner.join(token, closedMsAgo()), {
      frame: (frame) => {
        if (frame.type == "joined") this.#joined(connection, frame);
        if (frame.type == "warning") this.#isAtLeast(Date.parse(frame.ends_at) - frame.in_ms);
        // An error that ends an attempt is told together with its end.
        if (connection == this.#connection) this.#owner.frame(frame);
      },
      pong: (milliseconds, ahead) => this.#measure(milliseconds, ahead),
      end: (end) => this.#lost(connection, resume, end),
      active: this.#owner.active,
    });
    this.#opening = connection;
  }

  /**
   * @param {Connection} connection
   * @param {JoinedMessage} frame
   */
  #joined(connection, frame) {
    clearTimeout(this.#retryTimer);
    this.#connection?.close();
    this.#connection = connection;
    this.#opening = undefined;
    this.#tryingSince = this.#failures = 0;
    this.#refresh = false;
    this.#hasJoined = true;
    this.#bestRoundTrip = Infinity;
    this.#serverAhead = Date.parse(frame.server_time) - Date.now();
    this.closedAt = undefined;
    this.resume = frame.resume;
    this.#renewLater();
  }

  /**
   * @param {Connection} which
   * @param {string | undefined} resume the resume token that it had
   * @param {End} end
   */
  #lost(which, resume, { code, reason, error, closedAt }) {
    const kind = Math.floor(code / 100);
    this.#notBefore = kind == LATER ? Date.now() + (error?.retry_after_ms ?? 0) : 0;
    if (which == this.#opening) {
      this.#opening = undefined;
      // A renewal that failed leaves the connection that still works.
      if (this.#connection) return kind == FINAL ? undefined : this.#retry();
    } else {
      this.#connection = undefined;
      this.closedAt = closedAt;
      clearTimeout(this.#renewTimer);
    }
    const canRefresh = this.#getToken && !this.#invite;
    if (resume && (code == TOKEN_INVALID || kind == REFRESH)) {
      // That a resume token is over, or that the server does not know it, says nothing about the token before it.
      this.#renew();
    } else if (kind == FINAL || (kind == REFRESH && !canRefresh)) {
      const { code: name = `${code}`, message = reason, hint = "" } = error ?? {};
      this.#finish({ code: name, close_code: code, message, hint });
    } else if (kind == REFRESH && !this.#refresh) {
      this.#renew();
    } else if (this.#opening) {
      // The renewal under way is the next attempt.
      this.#owner.waiting(this.#waiting());
    } else {
      // A server that refuses even what is fresh comes here too: it is not asked in a loop.
      this.#retry();
    }
  }

  /** Comes back at once with a fresh token. */
  #renew() {
    this.resume = undefined;
    this.#refresh = true;
    this.open();
  }

  #retry() {
    this.#tryingSince = 0;
    // On top of what the server asked for: it may have asked the same of everybody.
    const wait = Math.max(0, this.#notBefore - Date.now()) + pause(++this.#failures);
    if (!this.#connection) this.#owner.waiting(this.#waiting());
    clearTimeout(this.#retryTimer);
    this.#retryTimer = setTimeout(() => this.open(), wait);
  }

  /** A token of the app is replaced before it is over: the new connection is there before the old one goes. */
  #renewLater() {
    clearTimeout(this.#renewTimer);
    const delay = renewalDelay(this.#appToken, this.now());
    if (delay === undefined) return;
    this.#renewTimer = setTimeout(() => {
      this.#refresh = true;
      this.open();
    }, delay);
  }

  /** @returns {TokenRequest} */
  #request() {
    return { session: this.#session, reason: this.#refresh ? "refresh" : "join" };
  }

  #waiting() {
    if (isOffline()) return "offline";
    return this.#hasJoined ? "reconnecting" : "connecting";
  }

  /** @param {Closed} closed */
  #finish(closed) {
    this.close();
    this.#owner.closed(closed);
  }

  /** @param {number} milliseconds @param {number} ahead */
  #measure(milliseconds, ahead) {
    this.roundTrip = milliseconds;
    // The quickest answer tells the most about the clock: nothing waited on its way.
    if (milliseconds > this.#bestRoundTrip) return;
    this.#bestRoundTrip = milliseconds;
    this.#serverAhead = ahead;
  }

  /**
   * A message was on its way for a while: the server's clock shows what it says or more. Without this the clock of a
   * warning may show more than the server announced.
   * @param {number} time
   */
  #isAtLeast(time) {
    this.#serverAhead = Math.max(this.#serverAhead, time - Date.now());
  }

  /** The present on the server's clock, in milliseconds since 1970. */
  now() {
    return Date.now() + this.#serverAhead;
  }

  /** @param {ClientMessage} frame @returns {boolean} false while there is no connection */
  send(frame) {
    return this.#connection?.send(frame) ?? false;
  }

  ping() {
    this.#connection?.ping();
  }

  /** There is reason to doubt the connection. */
  probe() {
    // A network that is known to be slow is given the time it takes.
    const known = this.roundTrip < Infinity ? 2 * this.roundTrip : 0;
    if (this.#connection) this.#connection.ping(Math.max(PROBE_TIMEOUT_MS, known));
    else this.#owner.waiting(this.#waiting());
  }

  /** There is reason to believe that the server can be reached: looks at the connection, or makes the next attempt now. */
  wake() {
    if (this.#connection) return this.probe();
    if (Date.now() - this.#tryingSince < ATTEMPT_FRESH_MS) return;
    this.#failures = 0;
    clearTimeout(this.#retryTimer);
    this.#retryTimer = setTimeout(() => this.open(), Math.max(0, this.#notBefore - Date.now()));
  }

  /**
   * Closes the sockets and stops trying, until `open`. Resolves when the server has answered.
   *
   * @param {boolean} [leave] tells the server that this is a leave, not a loss
   */
  close(leave) {
    this.#turn++;
    this.#tryingSince = 0;
    clearTimeout(this.#retryTimer);
    clearTimeout(this.#renewTimer);
    this.#opening?.close();
    const closed = this.#connection?.close(leave);
    if (this.#connection) this.closedAt = Date.now();
    this.#connection = this.#opening = undefined;
    return closed ?? Promise.resolve();
  }
}
