/** A stack that trains a real model, and its client. */
import { assert, assertEquals } from "#assert";
import OpenAI from "openai";
import { ensureAccount } from "../../local/stack/account.ts";
import { cache } from "../../local/state_dir.ts";
import { join, removeIfThere } from "../../local/paths.ts";
import { postgresDirectory } from "../../local/stack/postgres.ts";
import { endLeftovers, pause } from "../../local/stack/processes.ts";
import { startStack } from "../../local/stack/mod.ts";

export type Job = OpenAI.FineTuning.FineTuningJob;

/** Short rows: a step of a few hundred tokens takes seconds on a CPU. */
const row = (n: number) =>
  JSON.stringify({
    messages: [
      { role: "system", content: "Be brief." },
      { role: "user", content: `Where is parcel ${n}?` },
      { role: "assistant", content: `Parcel ${n} is on its way.` },
    ],
  });

/** Starts a new stack in `.tunebase/<name>`; it stops at the end of the file. */
export async function startTrainingStack(
  name: string,
  functionEnv: Record<string, string>,
  workerEnv: Record<string, string> = {},
) {
  const home = join(cache, name);
  await endLeftovers(home);
  await removeIfThere(await postgresDirectory(home));
  await removeIfThere(home);
  const stack = await startStack({
    home,
    log: () => {},
    port: 0,
    dbPort: 0,
    cronSeconds: 0.5,
    functionEnv,
    workerEnv: {
      // Answers are the slowest part of a short run on a CPU.
      TUNEBASE_SAMPLE_COUNT: "1",
      TUNEBASE_EVALUATION_SECONDS: "3",
      // Most of a short run uses one core. The other one is for another file's run.
      OMP_NUM_THREADS: "1",
      ...workerEnv,
    },
  });
  Deno.test.afterAll(async () => {
    await stack.stop();
    assertEquals(await endLeftovers(home), 0, "a stack that stops leaves no process behind");
    await removeIfThere(await postgresDirectory(home));
  });
  const account = await ensureAccount(stack);
  const openai = new OpenAI({ baseURL: account.baseUrl, apiKey: account.apiKey });

  const create = async (rows: number, hyperparameters: Record<string, number>) => {
    const file = await openai.files.create({
      file: new File([Array.from({ length: rows }, (_, n) => row(n)).join("\n")], "rows.jsonl"),
      purpose: "fine-tune",
    });
    return await openai.fineTuning.jobs.create({
      model: "SmolLM2-135M-Instruct",
      training_file: file.id,
      method: { type: "supervised", supervised: { hyperparameters } },
    });
  };

  /** Waits until the job satisfies `when`. */
  const until = async (id: string, when: (job: Job) => boolean, seconds = 600) => {
    for (let tries = 0; tries < seconds * 4; tries++) {
      const job = await openai.fineTuning.jobs.retrieve(id);
      if (when(job)) return job;
      assert(
        job.status !== "failed" && job.status !== "cancelled",
        `the job ended: ${JSON.stringify(job.error)}`,
      );
      await pause(250);
    }
    throw new Error(`the job did not come so far in ${seconds} s`);
  };

  return { home, stack, openai, create, until };
}

export const ended = (job: Job) => job.finished_at !== null;
