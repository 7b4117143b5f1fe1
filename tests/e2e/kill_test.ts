/**
 * kill -9 of each part in turn while 30 jobs run: a worker with all its processes, the scheduler, the callback, the API,
 * and Postgres with all its processes. Real function processes, real Postgres, RunPod's real SDK with the real handler;
 * only the training is `stub_trainer.py`. The effect of each kill is written to `.tunebase/kill.json`.
 */
import { assert, assertEquals } from "#assert";
import { createHash } from "node:crypto";
import OpenAI from "openai";
import { Adapter } from "../../examples/demo/adapter.ts";
import { ensureAccount } from "../../local/stack/account.ts";
import { deriveSchedulerSecret } from "../../local/stack/environment.ts";
import { cache, root } from "../../local/state_dir.ts";
import { join, removeIfThere } from "../../local/paths.ts";
import { postgresDirectory } from "../../local/stack/postgres.ts";
import { endLeftovers, pause, signal } from "../../local/stack/processes.ts";
import { startStack } from "../../local/stack/mod.ts";
import { assertInvariants, assertSentOnce } from "../crash/invariants.ts";

const jobs = 30;
const workers = 5;
const epochs = 2;
/** The shortest lease, for quick detection of a lost worker. */
const leaseSeconds = 4;

const home = join(cache, "kill");
await endLeftovers(home);
await removeIfThere(await postgresDirectory(home));
await removeIfThere(home);
const lines: string[] = [];
const stack = await startStack({
  home,
  log: (line) => void lines.push(line),
  port: 0,
  dbPort: 0,
  cronSeconds: 0.5,
  maxWorkers: workers,
  functionEnv: { TUNEBASE_LEASE_SECONDS: String(leaseSeconds), TUNEBASE_CHECKPOINT_SECONDS: "1" },
  workerEnv: {
    TUNEBASE_TRAIN_COMMAND: `'${join(root, "trainer/.venv/bin/python")}' -u '${
      join(root, "tests/e2e/stub_trainer.py")
    }'`,
  },
});
Deno.test.afterAll(async () => {
  await stack.stop();
  assertEquals(await endLeftovers(home), 0, "a stack that stops leaves no process behind");
  await removeIfThere(await postgresDirectory(home));
});
const account = await ensureAccount(stack);
const openai = new OpenAI({ baseURL: account.baseUrl, apiKey: account.apiKey, maxRetries: 8 });
const { sql } = stack;

/** Polls until the condition holds, ignoring errors while a part is down. Returns the seconds it took. */
async function until(what: string, ask: () => Promise<unknown>, seconds = 60): Promise<number> {
  const began = performance.now();
  const took = () => (performance.now() - began) / 1000;
  let last: unknown = "the condition is false";
  while (took() < seconds) {
    try {
      if (await ask()) return Math.round(took() * 100) / 100;
    } catch (error) {
      last = error;
    }
    await pause(25);
  }
  const state = await sql`
    select j.status, j.current_step, a.number, a.state, a.outcome, a.fence, a.lease_until - now() as lease, a.reconcile_at - now() as next_check,
      a.error_message
    from tunebase.jobs j left join tunebase.attempts a on a.job_id = j.id where j.finished_at is null order by j.id`;
  throw new Error(
    `${what}: not after ${seconds} s (${last})\n${JSON.stringify(state)}\n${lines.slice(-20).join("\n")}`,
  );
}

async function kill(part: Parameters<typeof stack.pids>[0]): Promise<void> {
  const pids = await stack.pids(part);
  assert(pids.length > 0, `${part} runs`);
  for (const pid of pids) signal(pid, "SIGKILL");
}
const create = async (seed: number, file: OpenAI.FileObject) =>
  await openai.fineTuning.jobs.create({
    model: "SmolLM2-135M-Instruct",
    training_file: file.id,
    seed,
    hyperparameters: { n_epochs: epochs },
  });
const count = async (condition: string) => {
  const [row] = await sql.unsafe<{ count: number }[]>(
    `select count(*)::int from tunebase.jobs where ${condition}`,
  );
  return row?.count ?? 0;
};
/** A report after this moment proves that worker, callback and database work. */
const reported = (since: Date) =>
  sql`select 1 from tunebase.attempts where last_report_at > ${since} limit 1`.then((rows) =>
    rows.length > 0
  );

/** The final hash of the stub's hash chain if each step was trained once, in order. */
function chain(seed: number): string {
  const start = new DataView(new ArrayBuffer(8));
  start.setBigUint64(0, BigInt(seed));
  let state = Array.from(new Uint8Array(start.buffer), (byte) => byte.toString(16).padStart(2, "0")).join("");
  for (let step = 1; step <= 10 * epochs; step++) {
    state = createHash("sha256").update(`${state} ${step}`).digest("hex");
  }
  return state;
}

// @proves accepted-job-ends, terminal-is-final, lost-worker
Deno.test("kill -9 of a worker, each function and Postgres during 30 jobs loses and duplicates nothing", async () => {
  const began = performance.now();
  await sql`update tunebase.projects set max_running = 1000`;
  await sql`update tunebase.base_models set queue_timeout_seconds = 60`;
  // Limits concurrent jobs, so that dispatching continues until the end.
  await sql`
    insert into tunebase_internal.runpod_endpoints (endpoint_id, max_running) values ('local', ${workers + 2})
    on conflict (endpoint_id) do update set max_running = excluded.max_running`;
  const row = JSON.stringify({
    messages: [{ role: "user", content: "a" }, { role: "assistant", content: "b" }],
  });
  const file = await openai.files.create({
    file: new File([`${row}\n${row}`], "rows.jsonl"),
    purpose: "fine-tune",
  });
  const early = jobs - 5;
  const created = await Promise.all(Array.from({ length: early }, (_, seed) => create(seed, file)));
  await until("as many jobs as workers run", async () => await count("status = 'running'") === workers);

  const recovered: Record<string, number> = {};
  // --- a worker: the handler and its training, after a checkpoint
  const find = () =>
    sql<{ job_id: string; number: number; fence: number; runpod_job_id: string }[]>`
      select a.job_id, a.number, a.fence, a.runpod_job_id from tunebase.attempts a
      join tunebase.checkpoints c on c.attempt_id = a.id where a.state = 'running' order by c.created_at desc limit 1`;
  await until("a checkpoint is saved", async () => (await find()).length > 0);
  const [victim] = await find();
  const workerOf = stack.runs().find(({ id }) => id === victim?.runpod_job_id)?.worker;
  const started = lines.find((line) => workerOf !== undefined && line.includes(`worker ${workerOf} started`));
  const pid = Number(/pid (\d+)/.exec(started ?? "")?.[1]);
  assert(victim !== undefined && stack.workers().includes(pid), `a worker that trains: ${started}`);
  signal(-pid, "SIGKILL");
  const workerDied = performance.now();
  // RunPod gives its run to another worker, which waits for the lease to expire; or there is another attempt.
  const again = until("the killed worker's job runs again", async () =>
    (await sql`
      select 1 from tunebase.attempts
      where job_id = ${victim.job_id} and last_report_at is not null
        and (number > ${victim.number} or fence > ${victim.fence})`).length > 0)
    .then(() => recovered.worker = Math.round((performance.now() - workerDied) / 10) / 100);

  // --- the functions
  const tick = `${stack.url}/functions/v1/tunebase-scheduler/tick`;
  const headers = { authorization: `Bearer ${await deriveSchedulerSecret(stack.keys)}` };
  await kill("tunebase-scheduler");
  recovered.scheduler = await until("the scheduler ticks again", async () => {
    const response = await fetch(tick, { method: "POST", headers });
    await response.body?.cancel();
    return response.ok;
  });
  let since = new Date();
  await kill("tunebase-callback");
  recovered["tunebase-callback"] = await until("reports arrive again", () => reported(since));
  // Creates are in flight when it dies; the SDK retries them.
  const late = Promise.all(Array.from({ length: jobs - early }, (_, i) => create(early + i, file)));
  await pause(5);
  await kill("tunebase");
  recovered.api = await until(
    "the API answers again",
    async () => (await fetch(`${account.baseUrl}/health`)).ok,
  );
  created.push(...await late);

  // --- Postgres with all its processes
  await pause(1000);
  await kill("postgres");
  const postgresDied = performance.now();
  const answered = await until("Postgres answers again", () => sql`select 1`);
  since = new Date();
  await until("reports arrive again", () => reported(since));
  recovered.postgres = Math.round((performance.now() - postgresDied) / 10) / 100;

  await again;
  await until("all jobs have ended", async () => await count("finished_at is null") === 0, 120);
  await until(
    "all attempts have ended",
    async () => (await sql`select 1 from tunebase.attempts where state <> 'ended'`).length === 0,
  );
  const seconds = Math.round((performance.now() - began) / 100) / 10;

  // --- nothing lost: each job succeeded with the adapter of an uninterrupted training
  let whole = 0;
  for (const [seed, { id }] of created.entries()) {
    const { files } = Adapter.parse(await openai.get(`/fine_tuning/jobs/${id}/adapter`));
    const weights = files.find(({ path }) => path === "adapter_model.safetensors");
    whole += Number(await (await fetch(weights?.url ?? "")).text() === chain(seed));
  }
  // --- nothing duplicated: one row per job, one run per attempt, one metric per step
  const sent = stack.runs().map(({ input }) =>
    `${Reflect.get(Object(input), "job_id")} ${Reflect.get(Object(input), "attempt")}`
  );
  const [{ attempts, resumed, steps } = {}] = await sql`
    select (select count(*)::int from tunebase.attempts) as attempts,
      (select count(*)::int from tunebase.events where message like 'Resuming from the checkpoint%') as resumed,
      (select count(*)::int from tunebase.metrics) as steps`;
  const figures = {
    jobs,
    workers,
    lost: jobs - whole,
    doubled: await count("true") - jobs + sent.length - new Set(sent).size,
    attempts,
    resumed,
    recovered_after_seconds: { ...recovered, postgres_alone: answered },
    seconds,
  };
  console.log(JSON.stringify(figures));
  assertEquals([figures.lost, figures.doubled, steps], [0, 0, jobs * 10 * epochs]);
  assertEquals(await count("status = 'succeeded'"), jobs);
  assert(resumed >= 1, "the killed worker's job resumed from its checkpoint");
  await assertInvariants(sql);
  await assertSentOnce(sql, stack.runs());
  await Deno.writeTextFile(join(cache, "kill.json"), `${JSON.stringify(figures)}\n`);
});
