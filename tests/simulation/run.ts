/** One run: random commands, checks after each, and a drain at the end, after which every job must have ended. */
import { noFaults } from "./faults.ts";
import { deliver } from "./messages.ts";
import { final } from "./model.ts";
import { jobAction } from "./clients.ts";
import { mix, Random } from "./random.ts";
import { isOver } from "./unreliable_runpod.ts";
import { aliveWorkers, chooseCommand, type Command, execute, type Kind } from "./commands.ts";
import { checkTerminalJobs } from "./oracle.ts";
import { receive, startWorker, work } from "./workers.ts";
import { Environment } from "./environment.ts";

export interface SimulationResult {
  steps: Command[];
  kinds: Partial<Record<Kind, number>>;
  jobs: number;
  attempts: number;
  crashes: number;
  finals: Record<string, number>;
  /** Violations, as "kind: description". The run ends with the command that caused one. */
  problems: string[];
  /** The number of that command, from 1; the drain counts as one. */
  at: number;
  trace: string[];
}

/** Executes `count` random commands from a seed, or exactly the given commands. */
export async function runSimulation(
  from: { seed: number; count: number } | { steps: Command[] },
): Promise<SimulationResult> {
  const env = await Environment.start();
  const given = "steps" in from ? from.steps : null;
  const random = "seed" in from ? new Random(from.seed) : new Random(0);
  const count = "count" in from ? from.count : from.steps.length;
  const steps: Command[] = [];
  const kinds: SimulationResult["kinds"] = {};
  try {
    while (steps.length < count && env.problems.length === 0) {
      const step = given?.[steps.length] ?? chooseCommand(env, random);
      steps.push(step);
      kinds[step.kind] = (kinds[step.kind] ?? 0) + 1;
      env.note("");
      await execute(env, step);
      await check(env, steps.length % 25 === 0);
    }
    let at = steps.length;
    if (env.problems.length === 0) {
      await drain(env);
      at++;
    }
    const finals: Record<string, number> = {};
    for (
      const { status, n } of await env
        .sql`select coalesce(error_code, status) as status, count(*)::int as n from tunebase.jobs group by 1`
    ) {
      finals[status] = n;
    }
    const { callers, connections, workers } = env.crashes;
    return {
      steps,
      kinds,
      jobs: env.jobs.size,
      attempts: env.attempts.size,
      crashes: callers + connections + workers,
      finals,
      problems: env.problems,
      at,
      trace: [...env.trace, ...env.log.slice(-12).map((line) => `log: ${line.slice(0, 300)}`)],
    };
  } finally {
    await env.close();
  }
}

/** Runs after every command; `all` also compares metrics and every adapter. */
async function check(env: Environment, all: boolean): Promise<void> {
  const [row] = await env.sql`select * from simulation.check(${all})`;
  for (const problem of row?.problems ?? []) env.reportProblem(problem);
  if (all || row?.finals !== env.finals) {
    env.finals = row?.finals;
    await env.checkAdapters(all);
    await checkTerminalJobs(env);
  }
  if (!all) return;
  const metrics = await env.sql`
    select job_id, jsonb_object_agg(step, attempt) as steps from tunebase.metrics group by job_id`;
  const stored = new Map(metrics.map(({ job_id, steps }) => [job_id, steps]));
  for (const job of env.jobs.values()) {
    const expected = JSON.stringify([...job.metrics].sort(([a], [b]) => a - b));
    const found = JSON.stringify(
      Object.entries(stored.get(job.id) ?? {}).map(([step, attempt]) => [Number(step), attempt]),
    );
    if (expected !== found) {
      env.reportProblem(`lost: job ${job.id} reported steps ${expected} but has ${found}`);
    }
  }
  const there = await env.sql`select id from tunebase.jobs`;
  const ids = new Set(there.map(({ id }) => id));
  for (const job of env.jobs.values()) {
    if (!ids.has(job.id)) env.reportProblem(`lost: job ${job.id} was accepted but does not exist`);
  }
  if (ids.size !== env.jobs.size) {
    env.reportProblem(`duplicate: ${ids.size} jobs exist, ${env.jobs.size} were created`);
  }
}

/** Without further faults, each job must end, and each attempt with it. */
async function drain(env: Environment): Promise<void> {
  env.seed = mix(env.seed, 99);
  env.faultsDisabled = true;
  env.note("");
  env.note("drain");
  const random = new Random(env.seed);
  for (const { request } of env.parked.splice(0)) {
    if (random.chance(0.5)) request.kill();
    else await request.resume(noFaults);
  }
  await check(env, true);
  for (let round = 0; env.problems.length === 0; round++) {
    const left = await env.sql`
      select j.id, j.status, j.status_reason, j.due_at, a.state, a.id as attempt
      from tunebase.jobs j left join tunebase.attempts a on a.job_id = j.id and a.state <> 'ended'
      where a.id is not null or not tunebase_internal.is_terminal(j.status)`;
    if (left.length === 0) break;
    if (round > 300) {
      for (const { id, status, status_reason, due_at, state } of left) {
        env.reportProblem(
          `lost: job ${id} has not ended: it is ${status} (${status_reason}, due ${due_at}); its attempt: ${
            state ?? "none"
          }`,
        );
      }
      return;
    }
    for (const { id, status } of left) {
      if (status === "paused") await jobAction(env, "resume", env.jobs.get(id), noFaults);
    }
    await drainRound(env, random);
    await check(env, false);
  }
  await check(env, true);
  for (const { status, id } of await env.sql`select id, status from tunebase.jobs`) {
    if (!final(status)) env.reportProblem(`lost: job ${id} is ${status} at the end`);
  }
  // Orphaned objects must be removed from Storage, and nothing else.
  await env.advanceTime(1200);
  await env.tick(noFaults);
  await env.checkAdapters(true);
}

async function drainRound(env: Environment, random: Random): Promise<void> {
  for (const message of env.messages.splice(0)) {
    if (random.chance(0.5)) await receive(env, message, await deliver(env, message, noFaults));
  }
  for (const run of env.runpod.open) {
    if (run.status === "IN_QUEUE" && !run.workers.some(({ alive }) => alive)) startWorker(env, run, random);
  }
  for (let busy = 0; busy < 40 && aliveWorkers(env).length > 0; busy++) {
    for (const worker of aliveWorkers(env)) await work(env, worker, random);
  }
  // By now RunPod has noticed runs that lost their worker.
  for (const run of env.runpod.open) {
    if (!isOver(run) && run.status === "IN_PROGRESS" && !run.workers.some(({ alive }) => alive)) {
      env.runpod.endRun(run, "FAILED", null, "job timed out after 1 retries");
    }
  }
  const { request, outcome } = await env.tick(noFaults);
  if (outcome === "done") await env.answer(request, []);
  await env.advanceTime(65);
}
