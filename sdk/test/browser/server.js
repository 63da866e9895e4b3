// A real server for the tests: `rollcall dev` on a free port with a data folder of its own.

import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../../../", import.meta.url));
/** Embedded Postgres has to be made first. */
const START_TIMEOUT_MS = 90_000;

export class Server {
  #settings;
  #folder;
  #child;
  #port = 0;
  #log = "";

  /** With settings as the environment names them: `{ WS__PING_INTERVAL_MS: 1000 }`. */
  static async start(settings = {}) {
    const server = new Server();
    server.#settings = settings;
    server.#folder = await mkdtemp(path.join(tmpdir(), "rollcall-sdk-"));
    await server.run();
    return server;
  }

  /** Starts it, again on the same port if it was stopped. */
  async run() {
    const binary = process.env.ROLLCALL_BIN ?? path.join(ROOT, "target/debug/rollcall");
    if (!existsSync(binary)) throw new Error("The server is not built: cargo build -p rollcall");
    const settings = Object.entries(this.#settings).map(([name, value]) => [`ROLLCALL_${name}`, `${value}`]);
    this.#child = spawn(binary, ["dev", "--json", "--listen", `127.0.0.1:${this.#port}`, "--data-dir", path.join(this.#folder, "data")], {
      cwd: this.#folder,
      env: { ...process.env, ...Object.fromEntries(settings), DATABASE_URL: "" },
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#child.stderr.on("data", (text) => (this.#log += text));
    const deadline = AbortSignal.timeout(START_TIMEOUT_MS);
    for await (const line of createInterface({ input: this.#child.stdout, signal: deadline })) {
      this.ready = JSON.parse(line);
      this.url = this.ready.url.replace(/\/$/, "");
      this.#port = Number(this.ready.listen.split(":").at(-1));
      return this;
    }
    throw new Error(`The server did not start:\n${this.#log}`);
  }

  get port() {
    return this.#port;
  }

  get log() {
    return this.#log;
  }

  /** Stops it; SIGKILL is a crash. */
  async stop(signal = "SIGTERM") {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = new Promise((done) => this.#child.once("exit", done));
    this.#child.kill(signal);
    await ended;
  }

  async end() {
    await this.stop();
    await rm(this.#folder, { recursive: true, force: true });
  }

  /** A file in the server's folder. */
  async write(name, text) {
    const file = path.join(this.#folder, name);
    await writeFile(file, text);
    return file;
  }

  configure(settings) {
    Object.assign(this.#settings, settings);
  }

  async api(method, where, body) {
    const response = await fetch(`${this.url}/v1${where}`, {
      method,
      headers: { authorization: `Bearer ${this.ready.api_key}`, "content-type": "application/json" },
      body: body && JSON.stringify(body),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${where}: ${response.status} ${text}`);
    return text ? JSON.parse(text) : undefined;
  }

  session(fields = {}) {
    return this.api("POST", "/sessions", fields);
  }

  invite(session, fields = {}) {
    return this.api("POST", `/sessions/${session.id}/invites`, fields);
  }

  /** A session and an open invite into it. */
  async room(fields) {
    const session = await this.session(fields);
    return { session, ...(await this.invite(session)) };
  }

  /** The types of a session's audit events, oldest first. */
  async audit(session) {
    const { data } = await this.api("GET", `/sessions/${session.id}/audit?limit=200`);
    return data.map((event) => event.event_type);
  }
}
