// A network between page and server that can be cut, silenced and slowed down: real TCP, in both directions.

import net from "node:net";

export class Network {
  #server;
  #target;
  #pairs = new Set();
  #mode = "up";
  #delay = 0;

  static async to(port) {
    const network = new Network();
    network.#target = port;
    network.#server = net.createServer((near) => network.#accept(near));
    await new Promise((done) => network.#server.listen(0, "127.0.0.1", done));
    network.url = `http://127.0.0.1:${network.#server.address().port}`;
    return network;
  }

  /** Connections break, and new ones are refused. */
  cut() {
    this.#mode = "cut";
    for (const { near, far } of this.#pairs) [near, far].forEach((socket) => socket.destroy());
  }

  /** Nothing gets through and nobody is told, as behind a router that lost its state. */
  silence() {
    this.#mode = "silent";
  }

  /** Silenced connections stay silent: their packets are lost. */
  restore() {
    this.#mode = "up";
  }

  /** Each chunk takes so many milliseconds in each direction. */
  slow(milliseconds) {
    this.#delay = milliseconds;
  }

  async end() {
    this.cut();
    await new Promise((done) => this.#server.close(done));
  }

  #accept(near) {
    if (this.#mode === "cut") return near.resetAndDestroy();
    const pair = { near, far: net.connect(this.#target, "127.0.0.1"), lost: this.#mode === "silent" };
    this.#pairs.add(pair);
    const drop = () => {
      this.#pairs.delete(pair);
      near.destroy();
      pair.far.destroy();
    };
    for (const [from, to] of [[near, pair.far], [pair.far, near]]) {
      from.setNoDelay(true);
      from.on("data", (chunk) => this.#forward(pair, to, chunk));
      from.on("end", () => pair.lost || setTimeout(() => to.end(), this.#delay));
      from.on("error", drop);
      from.on("close", () => pair.lost || setTimeout(drop, this.#delay));
    }
  }

  #forward(pair, to, chunk) {
    pair.lost ||= this.#mode === "silent";
    if (pair.lost) return;
    if (this.#delay) setTimeout(() => to.writable && to.write(chunk), this.#delay);
    else to.write(chunk);
  }
}
