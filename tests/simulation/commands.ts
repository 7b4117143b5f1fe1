/** The commands of a run. Each is a kind and a seed; in a given state, the seed alone determines what it does. */
import { canRetryCreate, createJob, jobAction, retryCreate } from "./clients.ts";
import { type FaultPlan, noFaults } from "./faults.ts";
import { callback, deliver } from "./messages.ts";
import type { Job, Worker } from "./model.ts";
import { randomFaultPlan } from "./fault_plans.ts";
import { mix, Random } from "./random.ts";
import { isOver } from "./unreliable_runpod.ts";
import { receive, startWorker, work } from "./workers.ts";
import type { Environment } from "./environment.ts";

export interface Command {
  kind: Kind;
  seed: number;
}

export const aliveWorkers = (env: Environment): Worker[] =>
  env.runpod.runs.flatMap(({ workers }) => workers.filter(({ alive }) => alive));
const startable = (env: Environment) =>
  env.runpod.open.filter((run) => !run.workers.some(({ alive }) => alive));
/** Workers that hold an attempt and have only their finish call left. */
const finishing = (env: Environment) =>
  aliveWorkers(env).filter((worker) =>
    (worker.pending?.message.name ?? worker.queue[0]?.do) === "finish" &&
    worker.run.attempt.holder === worker && worker.run.attempt.outcome === null
  );
const anyJob = (env: Environment, random: Random): Job | undefined => {
  // Prefer jobs about to finish: that is where calls race.
  const finishing = aliveWorkers(env).filter(({ queue, pending }) =>
    (pending?.message.name ?? queue[0]?.do) === "finish"
  );
  if (random.chance(0.3) && finishing.length > 0) return random.choose(finishing)?.run.attempt.job;
  // Mostly recent jobs; occasionally one that ended long ago.
  const jobs = [...env.jobs.values()];
  return random.choose(random.chance(0.8) ? jobs.slice(-8) : jobs);
};

const kinds = {
  /** `weight`: how likely it is in the current state; `execute`: what it does. */
  create: {
    weight: (env) => env.runpod.open.length > 10 ? 2 : 8,
    execute: (env, random) => createJob(env, random, randomFaultPlan(random, 3)),
  },
  "retry create": {
    weight: (env) => env.intents.some((intent) => canRetryCreate(env, intent)) ? 3 : 0,
    execute: (env, random) => retryCreate(env, random, randomFaultPlan(random, 3)),
  },
  cancel: {
    weight: hasJobs(2.5),
    execute: (env, random) => jobAction(env, "cancel", anyJob(env, random), randomFaultPlan(random, 1)),
  },
  pause: {
    weight: hasJobs(4),
    execute: (env, random) => jobAction(env, "pause", anyJob(env, random), randomFaultPlan(random, 1)),
  },
  resume: {
    weight: hasJobs(5),
    execute: (env, random) => jobAction(env, "resume", anyJob(env, random), randomFaultPlan(random, 1)),
  },
  tick: { weight: () => 16, execute: (env, random) => tick(env, randomFaultPlan(random, 12)) },
  "concurrent schedulers": {
    weight: (env) => env.runpod.open.length > 10 ? 0 : 3,
    execute: async (env, random) => {
      await createJob(env, random, noFaults);
      await Promise.all([1, 2, 3].map(() => tick(env, noFaults)));
    },
  },
  "worker starts": {
    weight: (env) => Math.min(14, 7 * startable(env).length),
    execute: async (env, random) => {
      const run = random.choose(startable(env));
      if (run !== undefined) await work(env, startWorker(env, run, random), random);
    },
  },
  "second worker starts": {
    weight: (env) => aliveWorkers(env).length > 0 ? 1.5 : 0,
    execute: async (env, random) => {
      const run = random.choose(env.runpod.open.filter(({ workers }) => workers.length > 0));
      if (run !== undefined) await work(env, startWorker(env, run, random), random);
    },
  },
  "worker works": {
    weight: (env) => Math.min(45, 12 * aliveWorkers(env).length),
    execute: async (env, random) => {
      const worker = random.choose(aliveWorkers(env));
      if (worker !== undefined) await work(env, worker, random);
    },
  },
  "client action on a finishing job": {
    weight: (env) => Math.min(10, 10 * finishing(env).length),
    execute: async (env, random) => {
      const worker = random.choose(finishing(env));
      if (worker === undefined) return;
      const what = random.any(["cancel", "cancel", "cancel", "pause"] as const);
      const together = random.chance(0.3);
      const moved = concurrentAction(env, what, worker.run.attempt.job);
      if (!together) await moved;
      await Promise.all([moved, work(env, worker, random)]);
    },
  },
  "same worker claims again": {
    weight: (env) => aliveWorkers(env).length > 0 ? 0.5 : 0,
    execute: (env, random) => {
      const worker = random.choose(aliveWorkers(env));
      if (worker === undefined || worker.pending !== null) return Promise.resolve();
      // Its handler restarted in the same process.
      worker.queue = [{ do: "claim again" }];
      return work(env, worker, random);
    },
  },
  "message arrives": {
    weight: (env) => Math.min(12, 2 * env.messages.length),
    execute: async (env, random) => {
      const message = takeMessage(env, random);
      if (message === undefined) return;
      if (random.chance(0.2)) env.messages.push({ ...message, key: mix(message.key, env.seed) });
      await receive(env, message, await deliver(env, message, randomFaultPlan(random)));
    },
  },
  "message lost": {
    weight: (env) => Math.min(4, 0.3 * env.messages.length),
    execute: (env, random) => Promise.resolve(void takeMessage(env, random)),
  },
  "parked request resumes": {
    weight: (env) => Math.min(16, 3 * env.parked.length),
    execute: async (env, random) => {
      const one = random.choose(env.parked);
      if (one === undefined) return;
      env.parked.splice(env.parked.indexOf(one), 1);
      const { request } = one;
      if (random.chance(0.25)) {
        request.kill();
        env.crashes.callers++;
        return env.note(`  ${request.name} dies before ${request.effects.at(-1)}`);
      }
      const plan = randomFaultPlan(random, 3);
      const outcome = await request.resume(plan);
      env.note(`  ${request.name} resumes: ${outcome} after ${request.effects.join(", ")}`);
      env.settled(request, outcome, plan);
      if (outcome !== "done") return;
      // The caller no longer waits, but the answer must still be valid. 503 (retry) when another call has moved the file
      // in the meantime.
      await env.answer(request, request.name === "verify" ? [503] : [403, 409]);
    },
  },
  "time advances": {
    weight: () => 8,
    execute: async (env, random) => {
      const seconds = Number(
        random.weighted({
          2: 8,
          5: 8,
          16: 10,
          31: 8,
          65: 5,
          130: 2,
          320: 1,
          700: 1,
          1900: 0.5,
          4300: 0.4,
          90000: 0.1,
        }),
      );
      env.note(`  ${seconds} s`);
      await env.advanceTime(seconds);
    },
  },
  "RunPod fault": {
    weight: (env) => env.runpod.open.length > 0 ? 3 : 0,
    execute: (env, random) => Promise.resolve(injectRunpodFault(env, random)),
  },
  forgery: { weight: (env) => aliveWorkers(env).length > 0 ? 2 : 0, execute: forgeCallback },
  "concurrent calls": { weight: (env) => aliveWorkers(env).length > 0 ? 4 : 0, execute: concurrentCalls },
} satisfies Record<string, {
  weight: (env: Environment) => number;
  execute: (env: Environment, random: Random) => Promise<void>;
}>;
export type Kind = keyof typeof kinds;
export const kindNames = Object.keys(kinds) as Kind[];

function hasJobs(weight: number) {
  return (env: Environment) => env.jobs.size > 0 ? weight : 0;
}

/** The next command of a random run. */
export function chooseCommand(env: Environment, random: Random): Command {
  const weights: Partial<Record<Kind, number>> = {};
  for (const kind of kindNames) weights[kind] = kinds[kind].weight(env);
  return { kind: random.weighted(weights), seed: random.bits() };
}

/** Executes a command; does nothing when nothing qualifies. */
export async function execute(env: Environment, { kind, seed }: Command): Promise<void> {
  env.seed = seed;
  env.note(kind);
  await kinds[kind].execute(env, new Random(seed));
}

async function tick(env: Environment, plan: FaultPlan): Promise<void> {
  const { outcome, request } = await env.tick(plan);
  env.note(`  ${outcome}: ${request.effects.join(", ")}`);
  if (outcome === "done") await env.answer(request, []);
}

function takeMessage(env: Environment, random: Random) {
  const message = random.choose(env.messages);
  if (message !== undefined) env.messages.splice(env.messages.indexOf(message), 1);
  return message;
}

function injectRunpodFault(env: Environment, random: Random): void {
  const run = random.choose(env.runpod.open);
  if (run === undefined) return;
  const what = random.any([
    "worker lost",
    "worker lost, run requeued",
    "deleted",
    "deleted while its worker continues",
    "timed out",
    "cancelled in the console",
    "frozen",
  ]);
  env.note(`  ${run.id}: ${what}`);
  switch (what) {
    case "worker lost":
      return env.runpod.endRun(run, "FAILED", null, "job timed out after 1 retries");
    case "worker lost, run requeued":
      env.runpod.kill(run);
      run.status = "IN_QUEUE";
      return;
    case "deleted":
      env.runpod.kill(run);
      run.gone = true;
      return;
    case "deleted while its worker continues":
      run.gone = true;
      return;
    case "timed out":
      return env.runpod.endRun(run, "TIMED_OUT", null, "executionTimeout exceeded");
    case "cancelled in the console":
      if (random.chance(0.3)) env.runpod.endRun(run, "CANCELLED", null, null);
      return;
    case "frozen":
      return env.runpod.kill(run); // RunPod keeps reporting IN_PROGRESS
  }
}

/** Callbacks without the secret must change nothing. */
async function forgeCallback(env: Environment, random: Random): Promise<void> {
  const worker = random.choose(aliveWorkers(env));
  if (worker === undefined) return;
  const others = env.runpod.runs.filter((run) => run !== worker.run);
  const secret = random.choose(others)?.secret ?? `whsec_${btoa("unknown secret")}`;
  const { run } = worker;
  const held = { worker_id: worker.id, fence: worker.fence };
  const forged = random.any([
    callback(env, run.attempt, worker, "claim", { worker_id: "thief", runpod_job_id: null }, secret, true),
    callback(env, run.attempt, worker, "finish", { ...held, outcome: "paused" }, secret, true),
    callback(env, run.attempt, worker, "finish", { ...held, outcome: "paused" }, null, true),
    {
      ...callback(env, run.attempt, worker, "webhook", { id: run.id, status: "COMPLETED" }, null, true),
      url: run.webhook.slice(0, -5) + "wrong",
    },
  ]);
  await deliver(env, forged, noFaults);
}

/** Concurrent calls on several connections: schedulers, claims of one attempt, a client, a worker's next call. */
async function concurrentCalls(env: Environment, random: Random): Promise<void> {
  const worker = random.choose(aliveWorkers(env));
  if (worker === undefined) return;
  const { run } = worker;
  if (run.gone || isOver(run)) return;
  const claims = [1, 2].map((n) => {
    const rival = startWorker(env, run, random);
    // One dies before it reads the answer; the other retries.
    rival.alive = n === 1;
    return callback(env, run.attempt, rival, "claim", { worker_id: rival.id, runpod_job_id: run.id });
  });
  const ended = [...env.messages].filter(({ attempt, name }) => attempt === run.attempt && name === "finish");
  const late = random.choose(ended);
  await Promise.all([
    ...(random.chance(0.5) ? [tick(env, noFaults), tick(env, noFaults)] : []),
    ...claims.map((message) => deliver(env, message, noFaults)),
    ...(late === undefined ? [] : [deliver(env, late, noFaults)]),
    ...(random.chance(0.3) ? [concurrentAction(env, random.any(["pause", "resume"]), run.attempt.job)] : []),
    ...(worker.pending === null && worker.queue.length > 0 ? [work(env, worker, random)] : []),
  ]);
}

/** A client action whose answer depends on the order of the calls. */
async function concurrentAction(
  env: Environment,
  what: "cancel" | "pause" | "resume",
  job: Job,
): Promise<void> {
  const { request } = await env.send(
    "tunebase",
    what,
    `/fine_tuning/jobs/ftjob-${job.id.replaceAll("-", "")}/${what}`,
    {
      method: "POST",
      headers: { authorization: `Bearer ${env.projects[job.project]?.apiKey}` },
    },
    noFaults,
  );
  await env.answer(request, [409]);
}
