/** What every bench stands on: a fresh stack of its own, with a RunPod that takes every run and starts no worker. */
import OpenAI from "openai";
import { ensureAccount } from "../local/stack/account.ts";
import { cache } from "../local/state_dir.ts";
import type { IsolateLimits } from "../local/emulators/functions/limits.ts";
import { loadKeys } from "../local/stack/keys.ts";
import { join, removeIfThere } from "../local/paths.ts";
import { postgresDirectory } from "../local/stack/postgres.ts";
import { endLeftovers } from "../local/stack/processes.ts";
import { type Stack, startStack } from "../local/stack/mod.ts";
import { FakeRunpod } from "../tests/support/fake_runpod.ts";
import { rows } from "../tests/support/fake_worker.ts";

const home = join(cache, "bench");

export interface Stand {
  stack: Stack;
  runpod: FakeRunpod;
  /** The official SDK, with the key of a user whose project may run as much as it likes. */
  openai: OpenAI;
  /** A training file of that project. */
  fileId: string;
  close(): Promise<void>;
}

export interface StandOptions {
  /** The timer's interval. */
  cronSeconds: number;
  /** What the functions run under. None unless given: a bench measures what the functions do, not their replacement. */
  limits?: IsolateLimits | null;
}

/** The stand of the benches that drive the scheduler themselves, when they share one. */
let shared: { stand: Stand | null } | null = null;

/**
 * From now on the benches whose timer rests use one stand, each after the other: starting one costs six seconds of CPU,
 * more than a bench's short form.
 */
export function shareStand(): void {
  shared = { stand: null };
}

export async function closeSharedStand(): Promise<void> {
  await shared?.stand?.close();
  if (shared !== null) shared.stand = null;
}

/** Starts it with an empty database, PostgreSQL with its defaults (fsync is on). */
export async function startStand(options: StandOptions): Promise<Stand> {
  if (shared === null) return await startOwnStand(options);
  if (options.cronSeconds < 3600) {
    await closeSharedStand(); // they have one home
    return await startOwnStand(options);
  }
  shared.stand ??= await startOwnStand(options);
  const { stand } = shared;
  return {
    ...stand,
    // What a bench leaves in the queue is not sent while the next one runs.
    close: async () => {
      await stand.stack.sql`update tunebase.jobs set due_at = 'infinity' where status = 'queued'`;
    },
  };
}

async function startOwnStand({ cronSeconds, limits = null }: StandOptions): Promise<Stand> {
  await endLeftovers(home);
  await removeIfThere(home);
  const postgres = await postgresDirectory(home);
  await removeIfThere(join(postgres, "data"));
  await Deno.mkdir(home, { recursive: true, mode: 0o700 });
  const runpod = new FakeRunpod((await loadKeys(home)).runpodKey);
  const trouble: string[] = [];
  const stack = await startStack({
    home,
    port: 0,
    dbPort: 0,
    runpod,
    log: (line) => trouble.push(line),
    cronSeconds,
    limits,
  });
  try {
    const { baseUrl: baseURL, apiKey } = await ensureAccount(stack);
    await stack.sql`update tunebase.projects
      set max_running = 1000, max_jobs = null, requests_per_minute = 1000000`;
    const openai = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
    const file = await openai.files.create({ file: new File([rows], "rows.jsonl"), purpose: "fine-tune" });
    return {
      stack,
      runpod,
      openai,
      fileId: file.id,
      close: async () => {
        await stack.stop();
        await removeIfThere(postgres); // the home stays until the next: its logs say what went wrong
      },
    };
  } catch (error) {
    await stack.stop();
    throw error;
  }
}

/** Creates a job through the API. */
export const createJob = ({ openai, fileId }: Stand): Promise<{ id: string }> =>
  openai.fineTuning.jobs.create({ model: "SmolLM2-135M-Instruct", training_file: fileId });

/** Waits until `done`, looking every few milliseconds; throws after `seconds`. */
export async function until(what: string, seconds: number, done: () => boolean): Promise<void> {
  for (const end = performance.now() + seconds * 1000; !done();) {
    if (performance.now() > end) throw new Error(`${what} did not come to pass within ${seconds} s`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}
