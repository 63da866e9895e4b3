/** A snapshot that is replaced and never changed, with those who want to know. */

/** @template {object} Snapshot @template {object} Events */
export class Store {
  /** @type {Snapshot} */
  #snapshot;
  /** @type {Set<() => void>} */
  #subscribers = new Set();
  /** @type {Map<keyof Events, Set<(event: any) => void>>} */
  #listeners = new Map();

  /** @param {Snapshot} first */
  constructor(first) {
    this.#snapshot = first;
  }

  /** The same object until something changes. */
  get() {
    return this.#snapshot;
  }

  /** @param {Partial<Snapshot>} change */
  update(change) {
    this.#snapshot = { ...this.#snapshot, ...change };
    // A copy: who subscribes or leaves while being told changes nothing for the others.
    for (const notify of [...this.#subscribers]) call(notify);
  }

  /** @param {() => void} notify @returns {() => void} stops it */
  subscribe(notify) {
    this.#subscribers.add(notify);
    return () => void this.#subscribers.delete(notify);
  }

  /**
   * @template {keyof Events} Type
   * @param {Type} type
   * @param {Events[Type]} event
   */
  emit(type, event) {
    for (const listener of [...(this.#listeners.get(type) ?? [])]) call(listener, event);
  }

  /**
   * @template {keyof Events} Type
   * @param {Type} type
   * @param {(event: Events[Type]) => void} listener
   * @returns {() => void} stops it
   */
  on(type, listener) {
    const set = this.#listeners.get(type) ?? new Set();
    this.#listeners.set(type, set.add(listener));
    return () => void set.delete(listener);
  }

  /** Lets everybody go. */
  clear() {
    this.#subscribers.clear();
    this.#listeners.clear();
  }
}

/**
 * A mistake in one listener is reported like any other, and costs nobody else their turn.
 *
 * @param {(event?: any) => void} listener
 * @param {unknown} [event]
 */
function call(listener, event) {
  try {
    listener(event);
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}
