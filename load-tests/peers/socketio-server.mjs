// Presence on Socket.IO: its rooms, a list in the acknowledgement of the join, an event for each change, pings by
// acknowledgement. Settings as its pages on performance tuning and memory usage advise: WebSocket only, no compression,
// bufferutil for masks, the request of the handshake let go.

import { createServer } from "node:http";
import { Server } from "socket.io";
import { announce, join, leave, sweep } from "./presence.mjs";

const http = createServer();
const io = new Server(http, {
  transports: ["websocket"],
  perMessageDeflate: false,
  httpCompression: false,
  serveClient: false,
  maxHttpBufferSize: 64 * 1024,
});

io.engine.on("connection", (raw) => {
  raw.request = null;
});

io.on("connection", (socket) => {
  let room;
  let member;
  socket.on("ping", (answer) => {
    if (member !== undefined) member.seen = performance.now();
    answer();
  });
  socket.on("join", (request, answer) => {
    room = request.room;
    member = { identity: request.identity, state: null, joined_at: new Date().toISOString() };
    // Not part of what others see.
    Object.defineProperties(member, {
      socket: { value: socket },
      seen: { value: performance.now(), writable: true },
    });
    socket.to(room).emit("presence", { joins: [member] });
    const members = join(room, member);
    socket.join(room);
    // The sender is not in its own broadcast, hence to all others and the list to the joiner.
    answer([...members.values()]);
  });
  socket.on("update", (state) => {
    if (member === undefined) return;
    member.state = state;
    member.seen = performance.now();
    io.to(room).emit("presence", { updates: [member] });
  });
  socket.on("disconnect", () => {
    if (member === undefined || !leave(room, member)) return;
    io.to(room).emit("presence", { leaves: [{ identity: member.identity }] });
  });
});

sweep(({ socket }) => socket.disconnect(true));
http.listen({ host: "127.0.0.1", port: 0, backlog: 4096 }, () => announce(http));
