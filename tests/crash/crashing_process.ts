/** Processes of `serve.ts`, kept warm: starting one takes longer than the scenario's request. */
import { fromFileUrl } from "../../local/paths.ts";
import { root } from "../../local/state_dir.ts";
import { signal } from "../../local/stack/processes.ts";
import type { FunctionName, Instructions } from "./serve.ts";

/** One process. It receives instructions and serves until it crashes; or it is stopped, and can get new instructions. */
export class CrashingProcess {
  /** The names of the effects, in the order in which they began. */
  effects: string[] = [];
  readonly ended: Promise<Deno.CommandStatus>;
  readonly #child: Deno.ChildProcess;
  readonly #stdin: WritableStreamDefaultWriter<Uint8Array>;
  #port = Promise.withResolvers<number>();
  #stopped = Promise.withResolvers<void>();

  /** `bundle` is the path of `bundleServe`. */
  constructor(bundle: string, readonly name: FunctionName) {
    this.#child = new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--no-check", "--quiet", bundle, name],
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
    this.#reset();
  }

  /** Sends the instructions; returns the port on which it serves. */
  async serve(instructions: Instructions): Promise<number> {
    this.effects = [];
    this.#reset();
    await this.#send(JSON.stringify(instructions));
    return await this.#port.promise;
  }

  /** Stops serving once background work is done. */
  async stop(): Promise<void> {
    await this.#send("end");
    await this.#stopped.promise;
  }

  #reset(): void {
    this.#port = Promise.withResolvers();
    this.#stopped = Promise.withResolvers();
    for (const { promise } of [this.#port, this.#stopped]) promise.catch(() => {}); // possibly unobserved
  }

  kill(): void {
    signal(this.#child.pid, "SIGKILL");
  }

  #send(line: string): Promise<void> {
    return this.#stdin.write(new TextEncoder().encode(`${line}\n`));
  }

  async #read(): Promise<void> {
    let text = "";
    for await (const chunk of this.#child.stdout.pipeThrough(new TextDecoderStream())) {
      text += chunk;
      const lines = text.split("\n");
      text = lines.pop() ?? "";
      for (const line of lines) {
        const message: { port?: number; effect?: string; ended?: boolean } = JSON.parse(line);
        if (message.port !== undefined) this.#port.resolve(message.port);
        if (message.ended === true) this.#stopped.resolve();
        if (message.effect !== undefined) this.effects.push(message.effect);
      }
    }
  }
}

/** Bundles `serve.ts` into a file: loading it takes half the CPU time of loading its modules, hundreds of times. */
export async function bundleServe(path: string): Promise<void> {
  const { success, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [
      "bundle",
      "--quiet",
      "--platform",
      "deno",
      "-o",
      path,
      fromFileUrl(new URL("./serve.ts", import.meta.url)),
    ],
    cwd: root,
    stdin: "null",
  }).output();
  if (!success) throw new Error(`Failed to bundle serve.ts:\n${new TextDecoder().decode(stderr)}`);
}

/** A pool of warm processes of one function; acquiring one starts the next. */
export class WarmProcesses {
  #waiting: CrashingProcess[] = [];

  constructor(private readonly bundle: string, private readonly count: number) {}

  acquire(name: FunctionName): CrashingProcess {
    const others = this.#waiting.filter((one) => one.name !== name);
    for (const one of others) one.kill();
    this.#waiting = this.#waiting.filter((one) => one.name === name);
    const first = this.#waiting.shift() ?? new CrashingProcess(this.bundle, name);
    while (this.#waiting.length < this.count) this.#waiting.push(new CrashingProcess(this.bundle, name));
    return first;
  }

  /** Returns a process that was acquired and has stopped. */
  release(process: CrashingProcess): void {
    this.#waiting.unshift(process);
  }

  async close(): Promise<void> {
    for (const one of this.#waiting) one.kill();
    await Promise.all(this.#waiting.map(({ ended }) => ended));
  }
}
