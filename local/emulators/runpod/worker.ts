/** A worker: a process in its own session, started when there is work. */
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { signal } from "../../stack/processes.ts";

export interface WorkerOptions {
  command: string[];
  cwd: string;
  /** The worker's environment: PATH, HOME, LANG, the platform's variables and these. */
  env: Record<string, string>;
  logFile: string;
}

/** A worker process. `ended` resolves with its lifetime in milliseconds. */
export class Worker {
  readonly id = `local-${crypto.randomUUID().slice(0, 8)}`;
  readonly ended: Promise<number>;
  readonly startedAt = Date.now();
  readonly #child: ChildProcess;
  #gone = false;

  /** `platform`: the variables that RunPod sets, for a worker of this id. */
  constructor(options: WorkerOptions, endpoint: string, platform: Record<string, string>) {
    const log = openSync(options.logFile, "a");
    const [program = "", ...args] = options.command;
    // Node's spawn and not Deno.Command: `detached` gives the process its own session, so that its group can be killed.
    this.#child = spawn(program, args, {
      cwd: options.cwd,
      detached: true,
      stdio: ["ignore", log, log],
      env: {
        PATH: Deno.env.get("PATH") ?? "",
        HOME: Deno.env.get("HOME") ?? "/",
        LANG: "C.UTF-8",
        ...options.env,
        RUNPOD_POD_ID: this.id,
        RUNPOD_ENDPOINT_ID: endpoint,
        ...platform,
      },
    });
    closeSync(log);
    this.ended = new Promise((resolve) => {
      const done = () => {
        this.#gone = true;
        // Processes left in its group would keep pinging, like orphans on the real platform.
        this.#signal("SIGKILL");
        resolve(Date.now() - this.startedAt);
      };
      this.#child.once("exit", done);
      this.#child.once("error", done);
    });
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  get gone(): boolean {
    return this.#gone;
  }

  /** Ends the whole group: SIGTERM, then SIGKILL. */
  async stop(graceMs = 3000): Promise<void> {
    if (this.#gone) return;
    this.#signal("SIGTERM");
    const timer = setTimeout(() => this.#signal("SIGKILL"), graceMs);
    await this.ended;
    clearTimeout(timer);
  }

  #signal(name: Deno.Signal): void {
    if (this.#child.pid !== undefined) signal(-this.#child.pid, name);
  }
}
