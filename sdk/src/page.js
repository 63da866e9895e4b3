/** What the browser tells about the page: seen or hidden, online or not, going away or coming back, used by somebody. */

/** What counts as somebody using the page. */
const INPUT = ["pointerdown", "pointermove", "keydown", "wheel", "touchstart", "scroll"];

/**
 * @typedef {object} PageEvents
 * @property {(seen: boolean) => void} wake the page is online again, or seen, unfrozen, taken out of the back/forward
 *   cache: what was believed of the connection is to be looked at
 * @property {() => void} hide the page is not seen any more
 * @property {() => void} offline the network is gone, as far as the browser knows
 * @property {() => void} freeze the page may be thrown away without another word
 * @property {() => void} gone the page is being left; it may come back out of the back/forward cache
 * @property {() => void} input somebody uses the page
 */

/**
 * Listens until the returned function is called. Outside a browser there is nothing to listen to.
 *
 * @param {PageEvents} events
 * @returns {() => void}
 */
export function watchPage({ wake, hide, offline, freeze, gone, input }) {
  const listening = new AbortController();
  const listen = (
    /** @type {EventTarget | undefined} */ target,
    /** @type {string} */ type,
    /** @type {(event: any) => void} */ listener,
  ) => target?.addEventListener(type, listener, { signal: listening.signal, capture: true, passive: true });
  const { document, window } = globalThis;
  listen(document, "visibilitychange", () => (isHidden() ? hide() : wake(true)));
  listen(document, "freeze", freeze);
  listen(document, "resume", () => wake(!isHidden()));
  listen(window, "online", () => wake(false));
  listen(window, "offline", offline);
  listen(window, "pagehide", gone);
  listen(window, "pageshow", (event) => event.persisted && wake(true));
  for (const type of INPUT) listen(window, type, (event) => event.isTrusted && input());
  return () => listening.abort();
}

export const isHidden = () => globalThis.document?.visibilityState == "hidden";

/** Whether the browser knows that there is no network. A browser that believes in one may be wrong. */
export const isOffline = () => globalThis.navigator?.onLine === false;
