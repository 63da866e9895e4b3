// An app in TypeScript, checked against the published declarations as an app sees them.
import { createRollcall } from "@rollcall/client";
import type { Member, Snapshot, Status } from "@rollcall/client";
import { useOthers, useStatus } from "@rollcall/client/react";

type Hand = { hand: boolean };

const client = createRollcall({ url: "https://presence.example.com", getToken: async () => "token" });
const room = client.join<Hand>({ token: "rci_x", name: "Ann" });

const stop: () => void = room.subscribe(() => {
  const snapshot: Snapshot<Hand> = room.getSnapshot();
  const status: Status = snapshot.status;
  const raised: boolean[] = snapshot.others.map((one: Member<Hand>) => one.state?.hand ?? false);
  console.log(status, raised);
});
room.set({ hand: true });
// @ts-expect-error the state of this room has no such field
room.set({ foot: true });
stop();

export const Others = () => useOthers(room, (others) => others.length) + useStatus(room).status.length;
