/** A process of `serve.ts`, from outside. */
import { fromFileUrl } from "../../local/paths.ts";
import type { Ended, Instructions } from "./serve.ts";

/** Serves one instance after another. */
export class Instances {
  readonly #child: Deno.ChildProcess;
  readonly #stdin: WritableStreamDefaultWriter<Uint8Array>;
  #port = Promise.withResolvers<number>();
  #ended = Promise.withResolvers<Ended>();

  constructor() {
    this.#child = new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--no-check", "--quiet", fromFileUrl(new URL("./serve.ts", import.meta.url))],
      stdin: "piped",
      stdout: "piped",
      stderr: "null",
    }).spawn();
    this.#stdin = this.#child.stdin.getWriter();
    this.#read().catch((error) => {
      this.#port.reject(error);
      this.#ended.reject(error);
    });
  }

  /** Starts an instance; returns the port on which it serves. */
  async start(instructions: Instructions): Promise<number> {
    this.#port = Promise.withResolvers();
    this.#ended = Promise.withResolvers();
    await this.#send(JSON.stringify(instructions));
    return await this.#port.promise;
  }

  /** Ends the instance when its background work is done, unless it has crashed or does meanwhile. */
  async end(): Promise<Ended> {
    await this.#send("end");
    return await this.#ended.promise;
  }

  /** Ends the process. */
  async close(): Promise<void> {
    await this.#stdin.close();
    await this.#child.status;
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
        const message: { port?: number; ended?: Ended } = JSON.parse(line);
        if (message.port !== undefined) this.#port.resolve(message.port);
        if (message.ended !== undefined) this.#ended.resolve(message.ended);
      }
    }
    throw new Error("the process of serve.ts has ended");
  }
}
