/** One walk: some steps, the checks after each, and at the end the healing, after which nothing may be lost. */
import { smooth } from "./faults.ts";
import { deliver } from "./messages.ts";
import { final } from "./model.ts";
import { move } from "./clients.ts";
import { mix, Random } from "./random.ts";
import { isOver } from "./unreliable_runpod.ts";
import { chooseStep, type Kind, living, type Step, takeStep } from "./commands.ts";
import { judge } from "./oracle.ts";
import { receive, startWorker, work } from "./workers.ts";
import { World } from "./environment.ts";

export interface Walk {
  steps: Step[];
  kinds: Partial<Record<Kind, number>>;
  jobs: number;
  attempts: number;
  crashes: number;
  finals: Record<string, number>;
  /** What went wrong, as "kind: what"; the walk ends with the step that did it. */
  problems: string[];
  /** Which step it was, from 1; the healing counts as one more. */
  at: number;
  story: string[];
}

/** Takes `count` random steps from a seed, or exactly the steps given. */
export async function walk(from: { seed: number; count: number } | { steps: Step[] }): Promise<Walk> {
  const world = await World.start();
  const given = "steps" in from ? from.steps : null;
  const chance = "seed" in from ? new Random(from.seed) : new Random(0);
  const count = "count" in from ? from.count : from.steps.length;
  const steps: Step[] = [];
  const kinds: Walk["kinds"] = {};
  try {
    while (steps.length < count && world.problems.length === 0) {
      const step = given?.[steps.length] ?? chooseStep(world, chance);
      steps.push(step);
      kinds[step.kind] = (kinds[step.kind] ?? 0) + 1;
      world.tell("");
      await takeStep(world, step);
      await check(world, steps.length % 25 === 0);
    }
    let at = steps.length;
    if (world.problems.length === 0) {
      await heal(world);
      at++;
    }
    const finals: Record<string, number> = {};
    for (
      const { status, n } of await world
        .sql`select coalesce(error_code, status) as status, count(*)::int as n from tunebase.jobs group by 1`
    ) {
      finals[status] = n;
    }
    const { callers, connections, workers } = world.crashes;
    return {
      steps,
      kinds,
      jobs: world.jobs.size,
      attempts: world.attempts.size,
      crashes: callers + connections + workers,
      finals,
      problems: world.problems,
      at,
      story: [...world.story, ...world.log.slice(-12).map((line) => `log: ${line.slice(0, 300)}`)],
    };
  } finally {
    await world.close();
  }
}

/** After every step; `all` also compares what grows, and every adapter that there is. */
async function check(world: World, all: boolean): Promise<void> {
  const [row] = await world.sql`select * from chaos.check(${all})`;
  for (const problem of row?.problems ?? []) world.wrong(problem);
  if (all || row?.finals !== world.finals) {
    world.finals = row?.finals;
    await world.checkAdapters(all);
    await judge(world);
  }
  if (!all) return;
  const metrics = await world.sql`
    select job_id, jsonb_object_agg(step, attempt) as steps from tunebase.metrics group by job_id`;
  const stored = new Map(metrics.map(({ job_id, steps }) => [job_id, steps]));
  for (const job of world.jobs.values()) {
    const expected = JSON.stringify([...job.metrics].sort(([a], [b]) => a - b));
    const found = JSON.stringify(
      Object.entries(stored.get(job.id) ?? {}).map(([step, attempt]) => [Number(step), attempt]),
    );
    if (expected !== found) {
      world.wrong(`lost: job ${job.id} was told of the steps ${expected} and has ${found}`);
    }
  }
  const there = await world.sql`select id from tunebase.jobs`;
  const ids = new Set(there.map(({ id }) => id));
  for (const job of world.jobs.values()) {
    if (!ids.has(job.id)) world.wrong(`lost: job ${job.id} was accepted and is not there`);
  }
  if (ids.size !== world.jobs.size) {
    world.wrong(`doubled: ${ids.size} jobs, and ${world.jobs.size} were created`);
  }
}

/** Everybody is honest and alive from now on: each job must come to its end, and each attempt with it. */
async function heal(world: World): Promise<void> {
  world.seed = mix(world.seed, 99);
  world.honest = true;
  world.tell("");
  world.tell("healing");
  const chance = new Random(world.seed);
  for (const { flight } of world.parked.splice(0)) {
    if (chance.chance(0.5)) flight.kill();
    else await flight.goOn(smooth);
  }
  await check(world, true);
  for (let round = 0; world.problems.length === 0; round++) {
    const left = await world.sql`
      select j.id, j.status, j.status_reason, j.due_at, a.state, a.id as attempt
      from tunebase.jobs j left join tunebase.attempts a on a.job_id = j.id and a.state <> 'ended'
      where a.id is not null or not tunebase_internal.is_terminal(j.status)`;
    if (left.length === 0) break;
    if (round > 300) {
      for (const { id, status, status_reason, due_at, state } of left) {
        world.wrong(
          `lost: job ${id} has not ended: it is ${status} (${status_reason}, due ${due_at}), its attempt ${
            state ?? "there is none"
          }`,
        );
      }
      return;
    }
    for (const { id, status } of left) {
      if (status === "paused") await move(world, "resume", world.jobs.get(id), smooth);
    }
    await healRound(world, chance);
    await check(world, false);
  }
  await check(world, true);
  for (const { status, id } of await world.sql`select id, status from tunebase.jobs`) {
    if (!final(status)) world.wrong(`lost: job ${id} is ${status} at the end`);
  }
  // What is not needed any more is removed from Storage, and nothing else.
  await world.jump(1200);
  await world.tick(smooth);
  await world.checkAdapters(true);
}

async function healRound(world: World, chance: Random): Promise<void> {
  for (const message of world.messages.splice(0)) {
    if (chance.chance(0.5)) await receive(world, message, await deliver(world, message, smooth));
  }
  for (const run of world.runpod.open) {
    if (run.status === "IN_QUEUE" && !run.workers.some(({ alive }) => alive)) startWorker(world, run, chance);
  }
  for (let busy = 0; busy < 40 && living(world).length > 0; busy++) {
    for (const worker of living(world)) await work(world, worker, chance);
  }
  // A run without a worker is lost, and RunPod has noticed by now.
  for (const run of world.runpod.open) {
    if (!isOver(run) && run.status === "IN_PROGRESS" && !run.workers.some(({ alive }) => alive)) {
      world.runpod.over(run, "FAILED", null, "job timed out after 1 retries");
    }
  }
  const { flight, landing } = await world.tick(smooth);
  if (landing === "done") await world.answer(flight, []);
  await world.jump(65);
}
