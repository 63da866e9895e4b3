// The people in the room as cards. Cards are kept and changed, so that focus and animations survive.

import { element } from "/ui/page.js";
import { STATUSES } from "/ui/words.js";

/** Whole turn of the colour circle. */
const HUES = 360;
const MOOD_CHARACTERS_MAX = 24;

export const nameOf = (member) => member?.name || "Somebody";

/** Shows the members in a list; `remove` is called with one that the host wants out. */
export function showPeople(list, { self, others, remove }) {
  const members = self ? [self, ...others] : others;
  const cards = new Map([...list.children].map((card) => [card.dataset.id, card]));
  members.forEach((member, place) => {
    const card = cards.get(member.participant_id) ?? newCard(member);
    cards.delete(member.participant_id);
    fill(card, member, { own: member === self, remove });
    if (list.children[place] !== card) list.insertBefore(card, list.children[place] ?? null);
  });
  for (const gone of cards.values()) gone.remove();
}

function newCard(member) {
  const avatar = element("span", { className: "avatar", aria: { hidden: true } });
  avatar.style.setProperty("--hue", hueOf(member.identity));
  const card = element(
    "li",
    { className: "person", data: { id: member.participant_id } },
    avatar,
    element("span", { className: "name" }),
    element("span", { className: "detail" }),
    element("span", { className: "mood" }),
  );
  return card;
}

function fill(card, member, { own, remove }) {
  const [avatar, name, detail] = card.children;
  card.dataset.status = member.status;
  // Anybody may set any state: it is shown as text, and not at any length.
  const mood = typeof member.state?.mood === "string" ? member.state.mood.slice(0, MOOD_CHARACTERS_MAX) : "";
  set(avatar, initials(nameOf(member)));
  set(name, nameOf(member) + (own ? " (you)" : ""));
  const tabs = member.connections > 1 ? `, ${member.connections} windows` : "";
  const role = member.role === "host" ? "host, " : "";
  set(detail, role + STATUSES[member.status] + tabs);
  set(card.querySelector(".mood"), mood);
  const button = card.children[4];
  if (remove && !own && !button) {
    const aria = { label: `Remove ${nameOf(member)}` };
    const out = element("button", { type: "button", className: "small", textContent: "Remove", aria });
    out.onclick = () => remove(member);
    card.append(out);
  } else if (!remove) button?.remove();
}

function set(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

function initials(name) {
  const words = name.trim().split(/\s+/);
  const first = [...words[0]][0] ?? "?";
  const last = words.length > 1 ? [...words.at(-1)][0] : "";
  return (first + last).toUpperCase();
}

/** The same person has the same colour on every screen. */
function hueOf(identity) {
  let sum = 0;
  for (const character of identity) sum = (sum * 31 + character.codePointAt(0)) % HUES;
  return sum;
}
