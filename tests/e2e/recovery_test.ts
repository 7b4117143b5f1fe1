/** Cancellation of a real training, and its recovery from crashes. */
import { assert, assertEquals, assertStringIncludes } from "#assert";
import { join } from "../../local/paths.ts";
import { pause, signal } from "../../local/stack/processes.ts";
import { startForkServer } from "../support/fork_server.ts";
import { ended, type Job, startTrainingStack } from "./training_stack.ts";

const forks = await startForkServer();
const { home, stack, openai, create, until } = await startTrainingStack("recovery", {
  TUNEBASE_LEASE_SECONDS: "20", // other tests keep the machine busy
  TUNEBASE_CHECKPOINT_SECONDS: "1",
}, { TUNEBASE_TRAIN_COMMAND: forks.command });
Deno.test.afterAll(() => forks.stop());
const training = (job: Job) => Number(Reflect.get(job, "current_step")) >= 1;

/** The training process. */
async function trainer(): Promise<number | undefined> {
  for await (const entry of Deno.readDir("/proc")) {
    const text = await Deno.readTextFile(`/proc/${entry.name}/cmdline`).catch(() => "");
    if (text.includes("train_lora.py") && text.includes(join(home, "work"))) return Number(entry.name);
  }
}

// @proves report-cancel-did-nothing, others-fast-cancel
Deno.test("cancelling stops the training within seconds", async () => {
  const created = await create(200, { n_epochs: 20, batch_size: 2 });
  await until(created.id, training);
  const pid = await trainer();
  assert(pid !== undefined);
  assertEquals((await openai.fineTuning.jobs.cancel(created.id)).status, "cancelled");
  for (let tries = 0; tries < 80 && await trainer() !== undefined; tries++) await pause(250);
  assertEquals(await trainer(), undefined);
  let outcome: unknown;
  for (let tries = 0; tries < 60 && outcome !== "cancelled"; tries++) {
    const [attempt] = await stack.sql`select outcome from tunebase.attempts order by created_at desc limit 1`;
    outcome = attempt?.outcome;
    await pause(250);
  }
  assertEquals(outcome, "cancelled");
});

/** The steps of the job's kept checkpoints, the newest first. */
async function checkpoints(id: string): Promise<number[]> {
  const { data } = await openai.fineTuning.jobs.checkpoints.list(id);
  return data.map(({ step_number }) => step_number);
}
const messages = async (id: string) => {
  const found: string[] = [];
  for await (const event of openai.fineTuning.jobs.listEvents(id)) found.unshift(event.message);
  return found;
};

// @proves lost-worker
Deno.test("a job resumes from its checkpoints after its training and worker are killed and it is paused", async () => {
  const created = await create(6, { n_epochs: 4, batch_size: 3, lora_rank: 8, lora_alpha: 16 });

  const outcomes = async () => {
    const rows = await stack.sql<{ outcome: string | null }[]>`
      select outcome from tunebase.attempts where replace(job_id::text, '-', '') = ${
      created.id.slice(6)
    } order by number`;
    return rows.flatMap(({ outcome }) => outcome ?? []);
  };
  /** Waits for attempts and not for the queued status: on a busy machine, the job runs again before a poll sees it. */
  const attemptsEnded = async (count: number) => {
    for (let tries = 0; (await outcomes()).length < count; tries++) {
      assert(tries < 1200, `${count} attempts have not ended in 5 minutes`);
      await pause(250);
    }
  };

  // The training process is killed, as by the kernel when out of memory.
  await until(created.id, training);
  while ((await checkpoints(created.id)).length === 0) await pause(100);
  signal(await trainer() ?? 0, "SIGKILL");
  await attemptsEnded(1);
  assertStringIncludes(
    (await messages(created.id)).join("\n"),
    "Attempt 1 failed: The training process was killed (SIGKILL)",
  );

  // The whole worker is killed, as when a machine is lost.
  await until(created.id, (job) => job.status === "running" && Reflect.get(job, "stage") === "training");
  const [before = 0] = await checkpoints(created.id);
  for (const pid of stack.workers()) signal(pid, "SIGKILL");
  const [{ count: killed } = {}] = await stack.sql`select count(*)::int from tunebase.attempts`;
  assert(killed >= 2);

  // Its owner pauses it while another worker trains it.
  await attemptsEnded(2);
  await until(created.id, (job) => job.status === "running" && Reflect.get(job, "stage") === "training");
  await openai.fineTuning.jobs.pause(created.id);
  const paused = await until(created.id, (job) => String(job.status) === "paused" || ended(job));
  assertEquals(String(paused.status), "paused");
  const [saved = 0] = await checkpoints(created.id);
  assert(saved > before || saved >= 1, `the checkpoint of step ${saved}`);
  assertEquals(await trainer(), undefined);

  await openai.fineTuning.jobs.resume(created.id);
  const job = await until(created.id, ended);
  assertEquals([job.status, job.error], ["succeeded", null]);
  const log = (await messages(created.id)).join("\n");
  assertStringIncludes(log, `The job is paused. When resumed, it continues from checkpoint step ${saved}.`);
  const steps = await stack.sql`
    select m.step from tunebase.metrics m where replace(m.job_id::text, '-', '') = ${
    created.id.slice(6)
  } order by step`;
  assertEquals(steps.map(({ step }) => step), Array.from({ length: 8 }, (_, i) => i + 1), "each step once");
  assertEquals(await outcomes(), ["failed", "lost", "paused", "succeeded"]);
});
