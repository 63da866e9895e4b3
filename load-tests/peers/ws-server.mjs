// Presence on ws, with the frames of rollcall.v1: rooms, a list for who joins, diffs for who is there, pings that are answered
// and that prove a client alive. Settings as the library's README advises for many connections: no compression, no list of
// clients kept beside ours, bufferutil for masks; a diff is serialised once for a room.

import { createServer } from "node:http";
import { WebSocketServer } from "ws";
import { announce, join, leave, membersOf, sweep } from "./presence.mjs";

const http = createServer();
const wss = new WebSocketServer({
  server: http,
  perMessageDeflate: false,
  clientTracking: false,
  maxPayload: 64 * 1024,
});

/** Numbers of presence frames, by room. */
const sequences = new Map();

wss.on("connection", (socket) => {
  let room;
  let member;
  socket.on("message", (data) => {
    let frame;
    try {
      frame = JSON.parse(data);
    } catch {
      socket.close(1007);
      return;
    }
    if (member !== undefined) member.seen = performance.now();
    switch (frame.type) {
      case "ping":
        socket.send(JSON.stringify({ type: "pong", id: frame.id, server_time: new Date().toISOString() }));
        break;
      case "join": {
        room = frame.token;
        member = {
          participant_id: frame.identity,
          identity: frame.identity,
          state: null,
          joined_at: new Date().toISOString(),
        };
        // Not part of what others see.
        Object.defineProperties(member, {
          socket: { value: socket },
          seen: { value: performance.now(), writable: true },
        });
        tell(room, { joins: [member] });
        const participants = [...join(room, member).values()];
        socket.send(JSON.stringify({ type: "joined", seq: sequences.get(room) ?? 0, participants }));
        break;
      }
      case "update":
        if (member === undefined) break;
        member.state = frame.state;
        tell(room, { updates: [member] });
        break;
    }
  });
  socket.on("error", () => socket.terminate());
  socket.on("close", () => {
    if (member === undefined || !leave(room, member)) return;
    tell(room, { leaves: [{ participant_id: member.participant_id, reason: "closed" }] });
    if ([...membersOf(room)].length === 0) sequences.delete(room);
  });
});

function tell(room, diff) {
  const seq = (sequences.get(room) ?? 0) + 1;
  sequences.set(room, seq);
  const frame = Buffer.from(JSON.stringify({ type: "presence", seq, ...diff }));
  for (const { socket } of membersOf(room)) socket.send(frame, { binary: false });
}

sweep(({ socket }) => socket.terminate());
http.listen({ host: "127.0.0.1", port: 0, backlog: 4096 }, () => announce(http));
