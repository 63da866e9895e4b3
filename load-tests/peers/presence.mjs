// Rooms and their members: what both servers need of a presence server and neither library has.

/** Nobody who is silent for longer counts as present. The same as Rollcall's. */
const SILENCE_MAX_MS = 45_000;
const SWEEP_INTERVAL_MS = 5_000;

/** @type {Map<string, Map<string, object>>} room → identity → member */
const rooms = new Map();

/** Adds a member and returns everybody, the new one included. */
export function join(room, member) {
  let members = rooms.get(room);
  if (members === undefined) rooms.set(room, (members = new Map()));
  members.set(member.identity, member);
  return members;
}

/** Removes a member if nobody has taken its place since, and returns whether it was there. */
export function leave(room, member) {
  const members = rooms.get(room);
  if (members?.get(member.identity) !== member) return false;
  members.delete(member.identity);
  if (members.size === 0) rooms.delete(room);
  return true;
}

export function membersOf(room) {
  return rooms.get(room)?.values() ?? [];
}

/** Calls `expire` with every member that has been silent for too long. One timer for all. */
export function sweep(expire) {
  setInterval(() => {
    const limit = performance.now() - SILENCE_MAX_MS;
    for (const members of rooms.values()) {
      for (const member of members.values()) if (member.seen < limit) expire(member);
    }
  }, SWEEP_INTERVAL_MS).unref();
}

/** Tells the harness where this listens, and ends with it. */
export function announce(server) {
  const { address, port } = server.address();
  process.stdout.write(`${JSON.stringify({ listen: `${address}:${port}` })}\n`);
  process.stdin.on("end", () => process.exit(0)).resume();
}
