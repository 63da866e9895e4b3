// The demo room, and the example to copy: everything it shows comes from the room's snapshot and events.

import { byId, element, show, write } from "/ui/page.js";
import { nameOf, showPeople } from "/ui/people.js";
import { LEAVES, remaining } from "/ui/words.js";

/** What people may show. The state of a member is any JSON; here it is `{mood}`. */
const MOODS = ["hand up", "all clear", "listening", "back soon"];
/** How far one press extends the session. */
const EXTEND_S = 15 * 60;
/** A short interruption is not worth a word: it would only make people nervous. */
const QUIET_MS = 1_000;
/** Most lines in the list of what happened. */
const LOG_LINES_MAX = 50;

const LINES = {
  connecting: "Joining…",
  connected: "Live",
  reconnecting: "Connection lost. Reconnecting…",
  offline: "You are offline. You will be back as soon as your network is.",
};

/** Shows a room until it is closed; then `done` is told why. */
export function openRoom(room, done) {
  byId("log").replaceChildren();
  showMoods(room);
  const ticking = setInterval(() => tick(room), 1_000);
  let lineTimer;
  room.subscribe(() => render(room));
  room.on("status", ({ status }) => {
    clearTimeout(lineTimer);
    if (status === "connected") note("You are in.");
    lineTimer = setTimeout(() => showLine(status), status === "connected" ? 0 : QUIET_MS);
  });
  room.on("join", (member) => note(`${nameOf(member)} joined.`));
  room.on("leave", ({ member, reason }) => note(`${nameOf(member)} ${LEAVES[reason] ?? "left"}.`));
  room.on("extended", () => note("The end of the session has moved."));
  room.on("error", ({ message }) => note(message));
  room.on("closed", (closed) => {
    clearInterval(ticking);
    clearTimeout(lineTimer);
    done(closed);
  });
  byId("leave").onclick = () => room.close();
  byId("stay").onclick = () => room.active();
  byId("extend").onclick = () => room.extend(EXTEND_S);
  byId("end").onclick = () => confirm("End the session for everybody?") && room.end();
}

function render(room) {
  const { status, self, others, session, warning } = room.getSnapshot();
  if (!self || status === "closed") return;
  const title = session.title || "Session";
  write(byId("room-title"), title);
  document.title = `${title} (${others.length + 1})`;
  const host = self.role === "host";
  byId("host").hidden = !host;
  showPeople(byId("people"), { self, others, remove: host && ((member) => room.kick(member.participant_id)) });
  byId("people-title").textContent = others.length ? `Here now: ${others.length + 1}` : "Here now: only you";
  for (const button of byId("moods").children) button.setAttribute("aria-pressed", button.value === self.state?.mood);
  byId("warning").hidden = !warning;
  write(byId("warning-text"), warning?.message ?? "");
  byId("stay").hidden = warning?.code !== "session_idle";
  tick(room);
  show("room");
}

function showLine(status) {
  byId("line").dataset.status = status;
  write(byId("line"), LINES[status] ?? "");
}

/** The clock of the warning, on the server's time. */
function tick(room) {
  const { warning } = room.getSnapshot();
  if (warning) write(byId("warning-clock"), remaining(Date.parse(warning.ends_at) - room.now()));
}

function showMoods(room) {
  const buttons = MOODS.map((mood) => {
    const button = element("button", { type: "button", value: mood, textContent: mood, aria: { pressed: false } });
    button.onclick = () => room.set({ mood: room.getSnapshot().self?.state?.mood === mood ? null : mood });
    return button;
  });
  byId("moods").replaceChildren(...buttons);
}

function note(text) {
  const time = new Date().toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  byId("log").append(element("p", {}, element("time", { textContent: time }), ` ${text}`));
  while (byId("log").children.length > LOG_LINES_MAX) byId("log").firstChild.remove();
  byId("log").scrollTop = byId("log").scrollHeight;
}
