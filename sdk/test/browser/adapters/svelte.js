import { get } from "svelte/store";

import { watchInvite } from "@rollcall/client/invite";
import { readable } from "@rollcall/client/svelte";
import { createRollcall } from "@rollcall/client";

const client = createRollcall({ url: globalThis.serverUrl });
const page = Object.fromEntries(["invite", "status", "self", "moods", "names"].map((id) => [id, document.body.appendChild(Object.assign(document.createElement("p"), { id }))]));
const invite = readable(watchInvite(client, globalThis.token));
invite.subscribe(({ status, left_ms }) => (page.invite.textContent = `${status} ${left_ms !== null}`));

let stop;
globalThis.setInside = (inside) => {
  if (!inside) {
    stop();
    return globalThis.room.close();
  }
  globalThis.room = client.join({ token: globalThis.token, name: "Svelte" });
  const store = readable(globalThis.room);
  if (get(store).status !== "connecting") throw new Error("a store has a value at once");
  stop = store.subscribe(({ status, self, others }) => {
    page.status.textContent = status;
    page.self.textContent = self?.name ?? "";
    page.moods.textContent = others.map((one) => one.state?.mood ?? "").join();
    page.names.textContent = others.map((one) => one.name).join(", ");
  });
};
