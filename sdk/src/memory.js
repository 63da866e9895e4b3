/**
 * The resume token over a reload, a crash or a discarded tab. It is kept for the tab (`sessionStorage`), because it
 * stands for one connection.
 *
 * A duplicated tab gets a copy of the storage. It must not resume what the first tab still uses, or each would push
 * the other out: a page that lives holds a Web Lock, and an entry whose page has not said goodbye counts only when
 * nobody holds its lock. Hence no such entry is there before the lock is held: browsers give it when they come to it.
 */

/**
 * @typedef {object} Kept
 * @property {string} resume
 * @property {number} [closedAt] when the page that kept it closed its connection, on the clock of this computer
 */

/** @param {string} key */
export function createMemory(key) {
  const id = Math.random().toString(36).slice(2);
  /** @type {string | undefined} */
  let resume;
  /** @type {(() => void) | undefined} */
  let unlock;
  let isHeld = false;
  const locks = globalThis.navigator?.locks;

  /** @param {number} [closedAt] */
  const write = (closedAt) => storage((place) => place.setItem(key, JSON.stringify({ resume, id, closedAt })));
  const remove = () => storage((place) => place.removeItem(key));

  return {
    /** @returns {Promise<Kept | undefined>} */
    async take() {
      const entry = storage((place) => JSON.parse(place.getItem(key) ?? "null"));
      if (!entry || entry.closedAt) return entry ?? undefined;
      // Without locks (pages without TLS) a crash looks like a duplicate, and the safe answer is a fresh join.
      const free = locks?.request(nameOf(entry.id), { ifAvailable: true }, (lock) => !!lock);
      if (await free?.catch(() => false)) return entry;
    },

    /** @param {string} token */
    keep(token) {
      resume = token;
      if (isHeld || !locks) return write();
      if (unlock) return;
      // The goodbye of the page before is no longer true.
      remove();
      const over = new Promise((done) => (unlock = () => done(0)));
      const asked = unlock;
      const given = () => {
        if (unlock != asked) return;
        isHeld = true;
        write();
        return over;
      };
      locks.request(nameOf(id), given).catch(() => {});
    },

    /** The page is going away: whoever loads it next in this tab may go on with the token. @param {number} closedAt */
    leave(closedAt) {
      if (resume) write(closedAt);
      release();
    },

    forget() {
      resume = undefined;
      remove();
      release();
    },
  };

  function release() {
    unlock?.();
    unlock = undefined;
    isHeld = false;
  }
}

/** @param {string} id */
const nameOf = (id) => `rollcall:${id}`;

/**
 * A page may be forbidden to store anything; then there is nothing to come back with.
 *
 * @template T
 * @param {(place: Storage) => T} use
 * @returns {T | undefined}
 */
function storage(use) {
  try {
    return use(globalThis.sessionStorage);
  } catch {
    return undefined;
  }
}
