// Chromium without Playwright, which keeps every page awake and in sight. Speaks the DevTools protocol over a pipe.

import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";

import { chromiumPath, QUIET } from "./browser.js";

export class PlainChromium {
  #child;
  #folder;
  #calls = new Map();
  #number = 0;

  static async launch(args = []) {
    const browser = new PlainChromium();
    browser.#folder = await mkdtemp(path.join(tmpdir(), "rollcall-chromium-"));
    const all = ["--headless", "--remote-debugging-pipe", `--user-data-dir=${browser.#folder}`, ...QUIET, ...args, "about:blank"];
    browser.#child = spawn(chromiumPath(), all, { stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"] });
    let rest = "";
    browser.#child.stdio[4].on("data", (chunk) => {
      const messages = (rest + chunk).split("\0");
      rest = messages.pop();
      for (const message of messages) browser.#receive(JSON.parse(message));
    });
    return browser;
  }

  /** A tab in the only window: the one opened or brought last is seen, the others are hidden. */
  async tab(url) {
    const { targetId } = await this.#send("Target.createTarget", { url });
    const { sessionId } = await this.#send("Target.attachToTarget", { targetId, flatten: true });
    return {
      /** The value of an expression; promises are awaited. */
      evaluate: async (expression) => {
        const call = { expression, awaitPromise: true, returnByValue: true };
        const { result, exceptionDetails } = await this.#send("Runtime.evaluate", call, sessionId);
        if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
        return result.value;
      },
      bringToFront: () => this.#send("Target.activateTarget", { targetId }),
      /** `frozen`: no timer, event or promise runs; `active`. */
      setLifecycle: (state) => this.#send("Page.setWebLifecycleState", { state }, sessionId),
    };
  }

  async close() {
    const ended = new Promise((done) => this.#child.once("exit", done));
    this.#send("Browser.close").catch(() => {});
    await ended;
    await rm(this.#folder, { recursive: true, force: true, maxRetries: 5 });
  }

  #send(method, params = {}, sessionId) {
    const id = ++this.#number;
    this.#child.stdio[3].write(`${JSON.stringify({ id, method, params, sessionId })}\0`);
    return new Promise((resolve, reject) => this.#calls.set(id, { resolve, reject }));
  }

  #receive({ id, result, error }) {
    const call = this.#calls.get(id);
    this.#calls.delete(id);
    if (error) call?.reject(new Error(error.message));
    else call?.resolve(result);
  }
}
