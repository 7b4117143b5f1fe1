/** The environment of a bench: a new stack, with a RunPod that accepts every run and starts no worker. */
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
import { startTestPostgres } from "../tests/support/postgres_server.ts";
import type { Size } from "./results.ts";

const home = join(cache, "bench");

export interface BenchStack {
  stack: Stack;
  runpod: FakeRunpod;
  /** The official SDK, with the key of a user whose project has no limits. */
  openai: OpenAI;
  /** A training file in that project. */
  fileId: string;
  close(): Promise<void>;
}

export interface BenchStackOptions {
  /** The timer's interval. */
  cronSeconds: number;
  /** The functions' limits. None by default: a bench measures the functions, not isolate restarts. */
  limits?: IsolateLimits | null;
}

/** The stack shared by benches that drive the scheduler themselves. */
let shared: { bench: BenchStack | null } | null = null;

/**
 * From now on, benches without a timer share one stack sequentially: starting one costs six seconds of CPU, more than a
 * bench's short form.
 */
export function shareBenchStack(): void {
  shared = { bench: null };
}

export async function closeSharedBenchStack(): Promise<void> {
  await shared?.bench?.close();
  if (shared !== null) shared.bench = null;
}

/** Starts it with an empty database and PostgreSQL's defaults (fsync is on). */
export async function startBenchStack(options: BenchStackOptions): Promise<BenchStack> {
  if (shared === null) return await startOwnBenchStack(options);
  if (options.cronSeconds < 3600) {
    await closeSharedBenchStack(); // they share a state directory
    return await startOwnBenchStack(options);
  }
  shared.bench ??= await startOwnBenchStack(options);
  const { bench } = shared;
  return {
    ...bench,
    // Jobs that a bench leaves in the queue must not be dispatched during the next one.
    close: async () => {
      await bench.stack.sql`update tunebase.jobs set due_at = 'infinity' where status = 'queued'`;
    },
  };
}

async function startOwnBenchStack({ cronSeconds, limits = null }: BenchStackOptions): Promise<BenchStack> {
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
        await removeIfThere(postgres); // keeps the state directory until the next run, for its logs
      },
    };
  } catch (error) {
    await stack.stop();
    throw error;
  }
}

/** A server on which `testDatabase` creates databases. A short bench in a test uses the tests' one. */
export async function startBenchPostgres(name: string, size: Size): Promise<{ stop(): Promise<void> }> {
  if (size === "short" && Deno.env.has("TUNEBASE_TEST_DB_URL")) return { stop: () => Promise.resolve() };
  const server = await startTestPostgres(name);
  Deno.env.set("TUNEBASE_TEST_DB_URL", server.url);
  return {
    stop: async () => {
      Deno.env.delete("TUNEBASE_TEST_DB_URL");
      await server.stop();
    },
  };
}

/** Creates a job through the API. */
export const createJob = ({ openai, fileId }: BenchStack): Promise<{ id: string }> =>
  openai.fineTuning.jobs.create({ model: "SmolLM2-135M-Instruct", training_file: fileId });

/** Polls until `done`, every few milliseconds; throws after `seconds`. */
export async function until(what: string, seconds: number, done: () => boolean): Promise<void> {
  for (const end = performance.now() + seconds * 1000; !done();) {
    if (performance.now() > end) throw new Error(`${what} did not happen within ${seconds} s`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}
