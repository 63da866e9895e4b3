/** The own state on its way to the server: many changes become few frames, and the last one wins. */

/** Changes within this time become one frame. Half of the rate that the server takes without deferring. */
export const INTERVAL_MS = 100;

export class OwnState {
  /** What the server has not shown yet, as JSON: the app may go on changing its object. @type {string | undefined} */
  #json;
  #unsent = false;
  #sentAt = 0;
  /** @type {any} */
  #timer;
  #send;

  /**
   * @param {unknown} first `undefined`: none
   * @param {(state: unknown) => boolean} send false: there is no connection
   */
  constructor(first, send) {
    this.#json = JSON.stringify(first);
    this.#send = send;
  }

  /** @param {unknown} state */
  set(state) {
    this.#json = JSON.stringify(state) ?? "null";
    this.#unsent = true;
    this.#timer ??= setTimeout(() => this.flush(), Math.max(0, this.#sentAt + INTERVAL_MS - Date.now()));
  }

  /** What the app said last, as long as the server has not shown it; else what the server shows. @param {unknown} shown */
  over(shown) {
    return this.#json === undefined ? shown : JSON.parse(this.#json);
  }

  /**
   * Adds the state to the first frame of a connection where it fits; else it follows.
   *
   * @template {object} Frame
   * @param {Frame} frame
   * @param {number} charactersMax
   * @returns {Frame}
   */
  joinWith(frame, charactersMax) {
    if (this.#json === undefined) return frame;
    const whole = { ...frame, state: JSON.parse(this.#json) };
    this.#unsent = JSON.stringify(whole).length > charactersMax;
    return this.#unsent ? frame : whole;
  }

  /** The server has shown our state, or a newer one of another tab of ours. */
  confirm() {
    if (!this.#unsent) this.#json = undefined;
  }

  /** Sends what has not been sent. */
  flush() {
    this.stop();
    if (!this.#unsent || this.#json === undefined || !this.#send(JSON.parse(this.#json))) return;
    this.#unsent = false;
    this.#sentAt = Date.now();
  }

  stop() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}
