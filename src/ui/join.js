// The page behind an invite link: says at once whether the link is good, then shows who is here.
// The token is in the fragment, which browsers never send.

const byId = (id) => document.getElementById(id);
const say = (text) => { byId("message").textContent = text; };
const token = location.hash.slice(1);
const people = new Map();
let socket, resume, pingTimer, expiryTimer, closedAt, attempt = 0, final = false;

if (token) check(); else say("This page needs an invite link. Please open the link you were given.");

async function check() {
  let answer;
  try {
    const response = await fetch("/v1/invites/check", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ token }),
    });
    answer = await response.json();
    if (!response.ok) return say(answer.detail || answer.title);
  } catch {
    return say("The server cannot be reached. Please check your connection and reload.");
  }
  if (!answer.valid) return say(answer.message);
  byId("title").textContent = answer.session?.title || "Join a session";
  byId("enter").hidden = false;
  byId("enter").onsubmit = (event) => { event.preventDefault(); clearInterval(expiryTimer); join(); };
  byId("name").focus();
  const expiresAt = Date.now() + answer.expires_in_ms;
  const tick = () => {
    const left = Math.ceil((expiresAt - Date.now()) / 1000);
    if (left <= 0) { clearInterval(expiryTimer); byId("enter").hidden = true; return say("This invite link has expired. Please ask for a new one."); }
    say(left < 3600 ? `Your link is good for another ${left < 60 ? `${left} s` : `${Math.ceil(left / 60)} min`}.` : "Your link is good.");
  };
  tick();
  expiryTimer = setInterval(tick, 1000);
}

function join() {
  byId("enter").hidden = true;
  say(resume ? "Reconnecting…" : "Joining…");
  const url = new URL("/v1/ws", location.href);
  url.protocol = url.protocol.replace("http", "ws");
  socket = new WebSocket(url, "rollcall.v1");
  socket.onopen = () => {
    const frame = { type: "join", token: resume || token, client: { library: "rollcall-join-page" } };
    const name = byId("name").value.trim();
    if (name) frame.name = name;
    if (closedAt) frame.client.closed_ms_ago = Date.now() - closedAt;
    send(frame);
  };
  socket.onmessage = (event) => receive(JSON.parse(event.data));
  socket.onclose = (event) => {
    clearInterval(pingTimer);
    closedAt ??= Date.now();
    if (event.code === 1000) return say("You have left the session.");
    if (final || (event.code >= 4000 && event.code < 4200)) { byId("room").hidden = true; return; }
    say("The connection was lost. Reconnecting…");
    attempt += 1;
    setTimeout(join, Math.random() * Math.min(500 * 2 ** attempt, 20000));
  };
}

function receive(frame) {
  switch (frame.type) {
    case "joined":
      resume = frame.resume;
      attempt = 0;
      closedAt = undefined;
      people.clear();
      frame.participants.forEach((one) => people.set(one.participant_id, one));
      byId("title").textContent = frame.session.title || "Session";
      say(`You are here as ${byId("name").value.trim() || frame.self.identity}.`);
      byId("room").hidden = false;
      pingTimer = setInterval(ping, frame.ping_interval_ms);
      break;
    case "snapshot":
      people.clear();
      frame.participants.forEach((one) => people.set(one.participant_id, one));
      break;
    case "presence":
      [...frame.joins, ...frame.updates].forEach((one) => people.set(one.participant_id, one));
      frame.leaves.forEach((one) => people.delete(one.participant_id));
      break;
    case "warning": return warn(frame.message);
    case "extended": return warn("");
    case "ended": final = true; warn(""); return say(frame.message);
    case "error": if (frame.retry === "never") { final = true; } return say(frame.message);
    default: return;
  }
  show();
}

function warn(text) {
  byId("warning").textContent = text;
  byId("warning").hidden = !text;
}

function show() {
  const rows = [...people.values()].map((one) => {
    const row = document.createElement("li");
    row.dataset.status = one.status;
    row.textContent = `${one.name || one.identity} – ${one.status}`;
    return row;
  });
  byId("people").replaceChildren(...rows);
}

const send = (frame) => socket?.readyState === WebSocket.OPEN && socket.send(JSON.stringify(frame));
const ping = () => send({ type: "ping", active: document.visibilityState === "visible" });

document.addEventListener("visibilitychange", ping);
byId("leave").onclick = () => { final = true; send({ type: "leave" }); byId("room").hidden = true; };
