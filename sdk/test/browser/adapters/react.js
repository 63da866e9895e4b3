import { createElement as h, memo, StrictMode, useState } from "react";
import { createRoot } from "react-dom/client";

import { useInvite, useOthers, useRoom, useSelf, useStatus } from "@rollcall/client/react";
import { createRollcall } from "@rollcall/client";

const client = createRollcall({ url: globalThis.serverUrl });
globalThis.renders = { names: 0 };

const Names = memo(({ room }) => {
  globalThis.renders.names++;
  const names = useOthers(room, (others) => others.map((one) => one.name));
  return h("p", { id: "names" }, names.join(", "));
});

function Lesson({ token }) {
  const room = useRoom(client, { token, name: "React" });
  const { status } = useStatus(room);
  const self = useSelf(room);
  const moods = useOthers(room, (others) => others.map((one) => one.state?.mood ?? "").join());
  globalThis.room = room;
  return h("div", null, h("p", { id: "status" }, status), h("p", { id: "self" }, self?.name), h("p", { id: "moods" }, moods), h(Names, { room }));
}

function App() {
  const [inside, setInside] = useState(false);
  const invite = useInvite(client, globalThis.token);
  globalThis.setInside = setInside;
  return h("div", null, h("p", { id: "invite" }, `${invite.status} ${invite.left_ms !== null}`), inside && h(Lesson, { token: globalThis.token }));
}

// Strict mode mounts, unmounts and mounts again: nobody may see that.
createRoot(document.body.appendChild(document.createElement("main"))).render(h(StrictMode, null, h(App)));
