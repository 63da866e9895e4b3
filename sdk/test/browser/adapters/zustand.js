import { createStore } from "zustand/vanilla";

import { bindRoom, roomStore } from "@rollcall/client/zustand";
import { watchInvite } from "@rollcall/client/invite";
import { createRollcall } from "@rollcall/client";

const client = createRollcall({ url: globalThis.serverUrl });
const page = Object.fromEntries(["invite", "status", "self", "moods", "names"].map((id) => [id, document.body.appendChild(Object.assign(document.createElement("p"), { id }))]));
const invite = watchInvite(client, globalThis.token);
invite.subscribe(() => (page.invite.textContent = `${invite.getSnapshot().status} ${invite.getSnapshot().left_ms !== null}`));

// A store that the app has already, with things of its own.
const store = createStore(() => ({ draft: "kept", online: [] }));
store.subscribe(({ draft, online }) => (page.names.textContent = draft === "kept" ? online.map((one) => one.name).join(", ") : "the draft is gone"));

let stop;
globalThis.setInside = (inside) => {
  if (!inside) {
    stop();
    return globalThis.room.close();
  }
  const room = (globalThis.room = client.join({ token: globalThis.token, name: "Zustand" }));
  stop = bindRoom(store, room, ({ others }) => ({ online: others }));
  const reading = roomStore(room);
  reading.subscribe((state, before) => {
    if (state === before || reading.getState() !== state) throw new Error("not the contract of a store");
    page.status.textContent = state.status;
    page.self.textContent = state.self?.name ?? "";
    page.moods.textContent = state.others.map((one) => one.state?.mood ?? "").join();
  });
};
