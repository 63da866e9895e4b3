// Cuts the network for five seconds and measures how long after its return each page is back: `npm run reconnect`.

import { fileURLToPath } from "node:url";

import { connected, events, join, launch, sees } from "../test/browser/browser.js";
import { Network } from "../test/browser/network.js";
import { Server } from "../test/browser/server.js";

const CUT_MS = 5_000;
/** Pages that are cut together: each is one sample a round. */
const PAGES = 5;

export async function reconnects(browser, server, network, rounds) {
  const { token } = await server.room();
  const watcher = await join(browser, server.url, { token, name: "Watcher" });
  const pages = await Promise.all(
    Array.from({ length: PAGES }, (_, number) => join(browser, network.url, { token, name: `P${number}` })),
  );
  await sees(watcher, PAGES);
  const waits = [];
  for (let round = 0; round < rounds; round++) {
    await Promise.all(pages.map(connected));
    // The browser hears nothing of it but broken connections: the slower way to notice that it is over.
    network.cut();
    await new Promise((done) => setTimeout(done, CUT_MS));
    const backAt = Date.now();
    network.restore();
    await Promise.all(pages.map(connected));
    for (const page of pages) {
      const statuses = await events(page, "status");
      waits.push(statuses.findLast(({ event }) => event.status === "connected").at - backAt);
    }
  }
  waits.sort((a, b) => a - b);
  const leaves = (await events(watcher, "leave")).length;
  return { median: waits[Math.floor(waits.length / 2)], longest: waits.at(-1), samples: waits.length, leaves, waits };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const server = await Server.start();
  const browser = await launch();
  const network = await Network.to(server.port);
  try {
    console.log(JSON.stringify(await reconnects(browser, server, network, Number(process.argv[2] ?? 6))));
  } finally {
    await browser.close();
    await network.end();
    await server.end();
  }
}
