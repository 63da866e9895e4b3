// Reloads a page again and again while somebody else watches: `npm run reload100`.

import { fileURLToPath } from "node:url";

import { connected, events, join, launch, sees, snapshot } from "../test/browser/browser.js";
import { Server } from "../test/browser/server.js";

/** How often the watcher saw a leave, how many participants the reloading page was, and how often it was missing. */
export async function reloads(browser, server, times) {
  const { token } = await server.room();
  const watcher = await join(browser, server.url, { token, name: "Watcher" });
  const page = await join(browser, server.url, { token, name: "Reloader" });
  const participants = new Set();
  let missing = 0;
  for (let time = 0; time <= times; time++) {
    participants.add((await connected(page)).self.participant_id);
    await sees(watcher, 1);
    if (time === times) break;
    await page.reload();
    missing += (await snapshot(watcher)).others.length === 1 ? 0 : 1;
    await join(browser, server.url, { token, name: "Reloader" }, { page });
  }
  const leaves = (await events(watcher, "leave")).length;
  return { leaves, participants: participants.size, missing, reloads: times };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const server = await Server.start();
  const browser = await launch();
  try {
    console.log(JSON.stringify(await reloads(browser, server, Number(process.argv[2] ?? 100))));
  } finally {
    await browser.close();
    await server.end();
  }
}
