/** One socket from its opening to its end: the join, the pings, the question whether it is still alive. */

/** @import { ClientMessage, ErrorMessage, ServerMessage } from "./protocol.d.ts" */

const SUBPROTOCOL = "rollcall.v1";
/** An attempt that has not joined by then is given up. Servers answer a join at the latest after 30 s, mostly at once. */
const JOIN_TIMEOUT_MS = 10_000;
/** A ping that nothing answers for so long means a dead connection. */
const PONG_TIMEOUT_MS = 10_000;
/** The same when there is reason to doubt: the page wakes, the network changes. Slow mobile networks answer in 2 s. */
export const PROBE_TIMEOUT_MS = 3_000;
/** A timer that is later than this was held up by the browser and proves nothing. */
const LATE_MS = 1_000;

/**
 * @typedef {object} End
 * @property {number} code the close code; 1006 where the connection just broke
 * @property {string} reason
 * @property {ErrorMessage} [error] the last error that the server told before
 * @property {number} closedAt when the connection is known to have been alive last, on the clock of this computer
 */

/**
 * @typedef {object} ConnectionEvents
 * @property {(frame: ServerMessage) => void} frame every frame, `joined` and `pong` included
 * @property {(milliseconds: number, serverAhead: number) => void} pong the round trip of a ping, and how far the clock of
 *   the server is ahead of ours
 * @property {(end: End) => void} end exactly once, unless we close it ourselves
 * @property {() => boolean | undefined} active what a ping says of the person
 */

/**
 * @typedef {object} Connection
 * @property {(frame: ClientMessage) => boolean} send false while it is not open
 * @property {(timeout?: number) => void} ping
 * @property {(leave?: boolean) => Promise<void>} close resolves when the server has answered
 */

/**
 * Opens a socket and joins.
 *
 * @param {string} url
 * @param {() => ClientMessage} join asked for when the socket is open
 * @param {ConnectionEvents} events
 * @returns {Connection}
 */
export function connect(url, join, events) {
  const socket = new WebSocket(url, SUBPROTOCOL);
  const startedAt = Date.now();
  let heardAt = startedAt;
  let pingId = 0;
  let pingedAt = 0;
  let interval = 0;
  /** @type {ErrorMessage | undefined} */
  let error;
  /** The next thing that the passing of time brings: a ping, or the verdict on one. @type {any} */
  let timer;

  /** @param {number} milliseconds @param {() => void} then */
  const after = (milliseconds, then) => {
    clearTimeout(timer);
    timer = setTimeout(then, milliseconds);
  };

  const send = (/** @type {ClientMessage} */ frame) => {
    const open = socket.readyState == WebSocket.OPEN;
    if (open) socket.send(JSON.stringify(frame));
    return open;
  };

  const ping = (timeout = PONG_TIMEOUT_MS) => {
    pingedAt = Date.now();
    const dueAt = pingedAt + timeout;
    send({ type: "ping", id: ++pingId, active: events.active() });
    const verdict = () => (heardAt > pingedAt ? after(interval, ping) : fail(heardAt));
    // A page that was held up has its frames waiting behind this timer: they are heard first.
    after(timeout, () => (Date.now() - dueAt > LATE_MS ? after(LATE_MS, verdict) : verdict()));
  };

  /** Nothing that this socket does from here on matters. */
  const detach = () => {
    clearTimeout(timer);
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close(1000);
  };

  const fail = (/** @type {number} */ closedAt) => {
    detach();
    events.end({ code: 1006, reason: "", error, closedAt });
  };

  after(JOIN_TIMEOUT_MS, () => fail(startedAt));
  socket.onopen = () => send(join());
  socket.onclose = ({ code, reason }) => {
    clearTimeout(timer);
    events.end({ code, reason, error, closedAt: Date.now() });
  };
  socket.onmessage = ({ data }) => {
    heardAt = Date.now();
    /** @type {ServerMessage} */
    const frame = JSON.parse(data);
    if (frame.type == "error") error = frame;
    if (frame.type == "joined") interval = frame.ping_interval_ms;
    if (frame.type == "pong" && frame.id === pingId) {
      // Half of the way back is the best guess for when the server looked at its clock.
      const roundTrip = heardAt - pingedAt;
      events.pong(roundTrip, Date.parse(frame.server_time) - heardAt + roundTrip / 2);
      // Set by a message and not by a timer: browsers slow down chains of timers in hidden pages to one a minute.
      after(interval, ping);
    }
    events.frame(frame);
    // The first ping measures the round trip and says whether the page is seen.
    if (frame.type == "joined") ping();
  };

  return {
    send,
    ping,
    close: (leave) => {
      if (leave) send({ type: "leave" });
      detach();
      return new Promise((done) => {
        if (socket.readyState == WebSocket.CLOSED) done();
        else socket.onclose = () => done();
      });
    },
  };
}
