import { createApp, h, ref } from "vue";

import { useInvite, useRoom } from "@rollcall/client/vue";
import { createRollcall } from "@rollcall/client";

const client = createRollcall({ url: globalThis.serverUrl });
const inside = ref(false);
globalThis.setInside = (value) => (inside.value = value);

const Lesson = {
  setup() {
    const { room, status, self, others } = useRoom(client, { token: globalThis.token, name: "Vue" });
    globalThis.room = room;
    return () => [
      h("p", { id: "status" }, status.value),
      h("p", { id: "self" }, self.value?.name),
      h("p", { id: "moods" }, others.value.map((one) => one.state?.mood ?? "").join()),
      h("p", { id: "names" }, others.value.map((one) => one.name).join(", ")),
    ];
  },
};
const App = {
  setup() {
    const invite = useInvite(client, globalThis.token);
    return () => [h("p", { id: "invite" }, `${invite.value.status} ${invite.value.left_ms !== null}`), inside.value ? h(Lesson) : null];
  },
};
createApp(App).mount(document.body.appendChild(document.createElement("main")));
