/** Waiting before the next attempt to connect. */

/** Ceilings of the first attempts, in milliseconds. */
const FIRST_MS = 500;
const SECOND_MS = 1_000;
/** Ceiling while being back soon still means that nobody saw a leave: the grace period is 15 s by default. */
const FAST_MS = 1_500;
/** How many attempts are fast. Together they take about nine seconds. */
const FAST_ATTEMPTS = 12;
/** Ceiling of all later attempts. Reached by doubling. */
const SLOW_MS = 30_000;

/**
 * A random pause below a growing ceiling ("full jitter"), so that the clients of a server that restarts do not come
 * back in step. Starts with attempt 1.
 *
 * @param {number} attempt
 * @param {() => number} [random] uniform in [0, 1)
 * @returns {number} milliseconds
 */
export function pause(attempt, random = Math.random) {
  return random() * ceiling(attempt);
}

/** @param {number} attempt @returns {number} milliseconds */
export function ceiling(attempt) {
  if (attempt <= 1) return FIRST_MS;
  if (attempt == 2) return SECOND_MS;
  return Math.min(SLOW_MS, FAST_MS * 2 ** Math.max(0, attempt - FAST_ATTEMPTS));
}
