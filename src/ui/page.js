// Small helpers for a page without a framework.

export const byId = (id) => document.getElementById(id);

/** An element with properties, data, ARIA attributes and children; text only, never markup. */
export function element(name, { data = {}, aria = {}, ...properties } = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  Object.assign(made.dataset, data);
  for (const [key, value] of Object.entries(aria)) made.setAttribute(`aria-${key}`, value);
  made.append(...children);
  return made;
}

/** Writes text where it is another: what a screen reader has said is not said again. */
export function write(target, text) {
  if (target.textContent !== text) target.textContent = text;
  target.hidden = !text;
}

/** Shows one of the two views, and takes keyboard and screen reader there. */
export function show(view) {
  const heading = byId(view).querySelector("h1");
  if (!byId(view).hidden && document.activeElement !== document.body) return;
  for (const other of ["landing", "room"]) byId(other).hidden = other !== view;
  heading.focus({ preventScroll: true });
}

/** Storage of this tab, where the browser allows any. */
export const tab = {
  read: (key) => attempt(() => sessionStorage.getItem(key)),
  write: (key, value) => attempt(() => sessionStorage.setItem(key, value)),
  remove: (key) => attempt(() => sessionStorage.removeItem(key)),
};

function attempt(action) {
  try {
    return action();
  } catch {
    return null;
  }
}
