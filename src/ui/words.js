// What the page says. Codes come from the server (docs/ERROR_CODES.md); its own sentence stands in where none is here.

/** Title and next step for a visitor who is not let in, or not any more. */
const REFUSALS = {
  invite_expired: ["This invite has expired", "Ask the person who invited you for a new link. Nothing is wrong on your side."],
  invite_used_up: [
    "This invite has been used",
    "It let in as many people as it was made for. Ask for a link of your own. If you came by it yourself, go back to the window you used.",
  ],
  invite_revoked: ["This invite was withdrawn", "Ask the person who invited you whether there is a new one."],
  invite_not_yet_valid: ["You are early", "Leave this page open: it lets you in when the time has come."],
  token_invalid: ["This link is not complete", "A part of it may have been cut off. Open it again from the message it came in, or copy all of it."],
  session_ended: ["This session has ended", "If you expected it to go on, ask the host to open it again."],
  session_not_found: ["This session has ended", "If you expected it to go on, ask the host to open it again."],
  session_full: ["The room is full", "Wait until somebody leaves, then try again."],
  kicked: ["You were removed", "The host has taken you out of this session. If that was a mistake, ask them for a new invite."],
  replaced: ["You continued elsewhere", "You opened this session in another window or on another device."],
  origin_refused: ["This page may not open the session", "The server does not list this website. Tell whoever runs it."],
  left: ["You have left", "The others have seen you go. The door is still open."],
};

const NO_LINK = ["You need an invite", "This page opens with the link you were given. It looks like …/join#rci_… ."];

/** A second attempt can help after these. */
const AGAIN = { left: "Come back", replaced: "Use this window", session_full: "Try again" };

export function refusal(code, message) {
  const [title, next] = REFUSALS[code] ?? [message || "You cannot join", ""];
  return { title, message: REFUSALS[code] ? "" : message, next, again: AGAIN[code] };
}

export function noLink() {
  const [title, next] = NO_LINK;
  return { title, message: "", next };
}

export const LEAVES = {
  left: "left",
  closed: "lost the connection",
  liveness_timeout: "lost the connection",
  kicked: "was removed",
  invite_revoked: "left: the invite was withdrawn",
  token_expired: "left: the access was over",
  session_ended: "left",
};

export const STATUSES = { active: "here", away: "away", reconnecting: "reconnecting…" };

/** A remaining time: 0:09, 4:05, 1 h 12 min, 3 days. */
export function remaining(milliseconds) {
  const seconds = Math.max(0, Math.ceil(milliseconds / 1000));
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes}:${String(seconds % 60).padStart(2, "0")}`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} days`;
}
