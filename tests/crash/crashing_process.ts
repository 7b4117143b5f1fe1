/** Processes of `serve.ts`, kept warm: starting one takes longer than what it does before it dies. */
import { fromFileUrl, join } from "../../local/paths.ts";
import { root } from "../../local/state_dir.ts";
import { signal } from "../../local/stack/processes.ts";
import type { FunctionName, Order } from "./serve.ts";

/** One process. It takes an order and serves until it dies; or it is told to stop, and can take another order. */
export class Doomed {
  /** The names of the effects, in the order in which they began. */
  effects: string[] = [];
  readonly ended: Promise<Deno.CommandStatus>;
  readonly #child: Deno.ChildProcess;
  readonly #stdin: WritableStreamDefaultWriter<Uint8Array>;
  #port = Promise.withResolvers<number>();
  #stopped = Promise.withResolvers<void>();

  constructor(readonly name: FunctionName) {
    this.#child = new Deno.Command(Deno.execPath(), {
      args: [
        "run",
        "-A",
        "--no-check",
        "--quiet",
        `--config=${join(root, "deno.json")}`,
        fromFileUrl(new URL("./serve.ts", import.meta.url)),
        name,
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
      this.#stopped.reject(new Error(`the process ended with ${status.code}`));
      return status;
    });
    this.#expect();
  }

  /** Gives it its order; returns the port on which it serves. */
  async serve(order: Order): Promise<number> {
    this.effects = [];
    this.#expect();
    await this.#say(JSON.stringify(order));
    return await this.#port.promise;
  }

  /** Lets it serve no more, when its background work is done. */
  async stop(): Promise<void> {
    await this.#say("end");
    await this.#stopped.promise;
  }

  #expect(): void {
    this.#port = Promise.withResolvers();
    this.#stopped = Promise.withResolvers();
    for (const { promise } of [this.#port, this.#stopped]) promise.catch(() => {}); // nobody may ask
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
        const told: { port?: number; effect?: string; ended?: boolean } = JSON.parse(line);
        if (told.port !== undefined) this.#port.resolve(told.port);
        if (told.ended === true) this.#stopped.resolve();
        if (told.effect !== undefined) this.effects.push(told.effect);
      }
    }
  }
}

/** A few of one function that wait; taking one starts the next. */
export class Spares {
  #waiting: Doomed[] = [];

  constructor(private readonly count: number) {}

  take(name: FunctionName): Doomed {
    const others = this.#waiting.filter((one) => one.name !== name);
    for (const one of others) one.kill();
    this.#waiting = this.#waiting.filter((one) => one.name === name);
    const first = this.#waiting.shift() ?? new Doomed(name);
    while (this.#waiting.length < this.count) this.#waiting.push(new Doomed(name));
    return first;
  }

  /** One that was taken and has stopped. */
  giveBack(doomed: Doomed): void {
    this.#waiting.unshift(doomed);
  }

  async close(): Promise<void> {
    for (const one of this.#waiting) one.kill();
    await Promise.all(this.#waiting.map(({ ended }) => ended));
  }
}
