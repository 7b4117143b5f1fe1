/** Processes of `serve.ts`, kept warm: starting one takes longer than what it does before it dies. */
import { fromFileUrl, join } from "../../local/paths.ts";
import { root } from "../../local/home.ts";
import { signal } from "../../local/processes.ts";
import type { Order } from "./serve.ts";

/** One process. It takes one order, serves, and dies or is ended. */
export class Doomed {
  /** The names of the effects, in the order in which they began. */
  readonly effects: string[] = [];
  readonly ended: Promise<Deno.CommandStatus>;
  readonly #child: Deno.ChildProcess;
  readonly #stdin: WritableStreamDefaultWriter<Uint8Array>;
  readonly #port = Promise.withResolvers<number>();

  constructor() {
    this.#child = new Deno.Command(Deno.execPath(), {
      args: [
        "run",
        "-A",
        "--no-check",
        "--quiet",
        `--config=${join(root, "deno.json")}`,
        fromFileUrl(new URL("./serve.ts", import.meta.url)),
      ],
      stdin: "piped",
      stdout: "piped",
      stderr: "null",
    }).spawn();
    this.#stdin = this.#child.stdin.getWriter();
    const reading = this.#read();
    this.ended = this.#child.status.then(async (status) => {
      await reading;
      this.#port.reject(new Error(`the process ended with ${status.code} before it served`));
      return status;
    });
    this.#port.promise.catch(() => {}); // nobody may have asked
  }

  /** Gives it its order; returns the port on which it serves. */
  async serve(order: Order): Promise<number> {
    await this.#say(JSON.stringify(order));
    return await this.#port.promise;
  }

  /** Ends it when its background work is done. */
  async end(): Promise<void> {
    await this.#say("end").catch(() => {}); // it has died
    await this.ended;
  }

  kill(): void {
    signal(this.#child.pid, "SIGKILL");
  }

  #say(line: string): Promise<void> {
    return this.#stdin.write(new TextEncoder().encode(`${line}\n`));
  }

  async #read(): Promise<void> {
    let text = "";
    for await (const chunk of this.#child.stdout.pipeThrough(new TextDecoderStream())) {
      text += chunk;
      const lines = text.split("\n");
      text = lines.pop() ?? "";
      for (const line of lines) {
        const told: { port?: number; effect?: string } = JSON.parse(line);
        if (told.port !== undefined) this.#port.resolve(told.port);
        if (told.effect !== undefined) this.effects.push(told.effect);
      }
    }
  }
}

/** A few that wait; taking one starts the next. */
export class Spares {
  #closed = false;
  readonly #waiting: Doomed[];

  constructor(count: number) {
    this.#waiting = Array.from({ length: count }, () => new Doomed());
  }

  take(): Doomed {
    if (!this.#closed) this.#waiting.push(new Doomed());
    const first = this.#waiting.shift();
    if (first === undefined) throw new Error("the spares are closed");
    return first;
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const one of this.#waiting) one.kill();
    await Promise.all(this.#waiting.map(({ ended }) => ended));
  }
}
