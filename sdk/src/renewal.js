/** When a JWT is to be replaced. */

/** How long before its end. */
const LEAD_MS = 30_000;
/** A token that is over before it comes must not make a loop. */
const PAUSE_MS = 5_000;
/** The longest time that a browser's timer can wait. */
const TIMER_MS_MAX = 2 ** 31 - 1;

/**
 * Milliseconds until a token should be replaced: half a minute before its end, or half-way to it where that is sooner.
 * Undefined for a token that does not tell its end.
 *
 * @param {string | undefined} token
 * @param {number} now on the server's clock
 */
export function renewalDelay(token, now) {
  const end = expiry(token);
  if (!end) return undefined;
  const left = end - now;
  return Math.min(TIMER_MS_MAX, Math.max(PAUSE_MS, left - LEAD_MS, left / 2));
}

/** @param {string | undefined} token @returns {number | undefined} in milliseconds since 1970 */
function expiry(token) {
  try {
    const claims = token?.split(".")[1]?.replace(/-/g, "+").replace(/_/g, "/");
    return claims ? JSON.parse(atob(claims)).exp * 1000 : undefined;
  } catch {
    return undefined;
  }
}
