/** Svelte: a room or a watched invite as a readable store, so that `$store` works. Needs nothing of Svelte itself. */

/**
 * @template Value
 * @param {{getSnapshot: () => Value, subscribe: (notify: () => void) => () => void}} source `client.join(…)` or `watchInvite(…)`
 */
export function readable(source) {
  return {
    /** @param {(value: Value) => void} run called now and after every change @returns {() => void} stops it */
    subscribe(run) {
      run(source.getSnapshot());
      return source.subscribe(() => run(source.getSnapshot()));
    },
  };
}
