// The page behind an invite link: says at once whether the link is good and for how long, then opens the room.
// The token is in the fragment, which browsers never send.

import { watchInvite } from "/sdk/invite.js";
import { createRollcall } from "/sdk/rollcall.js";
import { byId, show, tab, write } from "/ui/page.js";
import { openRoom } from "/ui/room.js";
import { noLink, refusal, remaining } from "/ui/words.js";

/** From here on the remaining time is shown second by second. */
const CLOCK_FROM_MS = 60 * 60 * 1000;

const client = createRollcall();
let invite;

addEventListener("hashchange", () => location.reload());
start();

function start() {
  const token = decodeURIComponent(location.hash.slice(1));
  if (!token) return say(noLink());
  // Who was inside before a reload goes straight back in.
  const name = tab.read(nameKey(token));
  if (name === null) greet(token);
  else enter(token, name);
}

/** Watches the invite until the visitor joins. */
function greet(token) {
  invite = watchInvite(client, token);
  invite.subscribe(() => showInvite(invite.getSnapshot()));
  byId("enter").onsubmit = (event) => {
    event.preventDefault();
    const name = byId("name").value.trim();
    tab.write(nameKey(token), name);
    enter(token, name);
  };
}

function showInvite({ status, check, left_ms, message }) {
  if (status === "checking") return;
  if (status === "unreachable") {
    return say({ title: "No connection yet", tone: "wait", message, next: "We keep trying. Check your network if this lasts." });
  }
  if (status === "refused") {
    const words = refusal(check.code, message);
    const tone = check.code === "invite_not_yet_valid" ? "wait" : "stop";
    return say({ ...words, tone, eyebrow: check.session?.title, clock: left_ms, clockWords: "Opens in" });
  }
  const title = check.session?.title || "Join the session";
  const next = check.role === "host" ? "You come in as a host: you may extend and end the session." : "";
  say({ title, tone: "good", eyebrow: "You are invited to", next, clock: left_ms, clockWords: "Your link is good for", form: true });
}

function enter(token, name) {
  invite?.close();
  say({ title: "Joining…", tone: "wait" });
  openRoom(client.join({ token, name: name || undefined }), (closed) => {
    tab.remove(nameKey(token));
    const words = refusal(closed.code, closed.message);
    // The server's own sentence tells why a session ended.
    const message = closed.code === "session_ended" ? closed.message : words.message;
    say({ ...words, tone: closed.code === "left" ? "good" : "stop", message });
    byId("landing-action").onclick = () => {
      tab.write(nameKey(token), name);
      enter(token, name);
    };
  });
}

/** Fills the landing card. */
function say({ title, tone = "stop", message = "", eyebrow = "", next = "", clock, clockWords, form = false, again = "" }) {
  byId("landing").dataset.tone = tone;
  const fresh = byId("landing-title").textContent !== title;
  write(byId("landing-eyebrow"), eyebrow);
  write(byId("landing-title"), title);
  write(byId("landing-message"), message);
  write(byId("landing-next"), next);
  write(byId("landing-action"), again);
  const ticking = typeof clock === "number" && clock < CLOCK_FROM_MS;
  write(byId("landing-clock"), ticking ? `${clockWords} ${remaining(clock)}` : "");
  const appears = form && byId("enter").hidden;
  byId("enter").hidden = !form;
  document.title = title;
  if (fresh) show("landing");
  if (appears) byId("name").focus();
}

function nameKey(token) {
  return `rollcall-name:${token.slice(-12)}`;
}
