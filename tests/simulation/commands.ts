/** The steps of a walk. Each is a name and a number: what it does in a given world follows from the number alone. */
import { canSendAgain, create, createAgain, move } from "./clients.ts";
import { type Plan, smooth } from "./faults.ts";
import { callback, deliver } from "./messages.ts";
import type { Job, Worker } from "./model.ts";
import { planOf } from "./plan.ts";
import { mix, Random } from "./random.ts";
import { isOver } from "./unreliable_runpod.ts";
import { receive, startWorker, work } from "./workers.ts";
import type { World } from "./environment.ts";

export interface Step {
  kind: Kind;
  seed: number;
}

export const living = (world: World): Worker[] =>
  world.runpod.runs.flatMap(({ workers }) => workers.filter(({ alive }) => alive));
const startable = (world: World) =>
  world.runpod.open.filter((run) => !run.workers.some(({ alive }) => alive));
/** Who holds an attempt and has only its last word to say. */
const finishing = (world: World) =>
  living(world).filter((worker) =>
    (worker.pending?.message.name ?? worker.queue[0]?.do) === "finish" &&
    worker.run.attempt.holder === worker && worker.run.attempt.outcome === null
  );
const anyJob = (world: World, chance: Random): Job | undefined => {
  // Often one whose worker is about to finish: first come, first served is decided there.
  const finishing = living(world).filter(({ queue, pending }) =>
    (pending?.message.name ?? queue[0]?.do) === "finish"
  );
  if (chance.chance(0.3) && finishing.length > 0) return chance.choose(finishing)?.run.attempt.job;
  // Mostly one that is new: what has ended long ago is tried now and then.
  const jobs = [...world.jobs.values()];
  return chance.choose(chance.chance(0.8) ? jobs.slice(-8) : jobs);
};

const kinds = {
  /** How often, given what there is to do; then what it does. */
  create: {
    weight: (world) => world.runpod.open.length > 10 ? 2 : 8,
    take: (world, chance) => create(world, chance, planOf(chance, 3)),
  },
  "create again": {
    weight: (world) => world.intents.some((intent) => canSendAgain(world, intent)) ? 3 : 0,
    take: (world, chance) => createAgain(world, chance, planOf(chance, 3)),
  },
  cancel: {
    weight: hasJobs(2.5),
    take: (world, chance) => move(world, "cancel", anyJob(world, chance), planOf(chance, 1)),
  },
  pause: {
    weight: hasJobs(4),
    take: (world, chance) => move(world, "pause", anyJob(world, chance), planOf(chance, 1)),
  },
  resume: {
    weight: hasJobs(5),
    take: (world, chance) => move(world, "resume", anyJob(world, chance), planOf(chance, 1)),
  },
  tick: { weight: () => 16, take: (world, chance) => tick(world, planOf(chance, 12)) },
  "schedulers at once": {
    weight: (world) => world.runpod.open.length > 10 ? 0 : 3,
    take: async (world, chance) => {
      await create(world, chance, smooth);
      await Promise.all([1, 2, 3].map(() => tick(world, smooth)));
    },
  },
  "worker starts": {
    weight: (world) => Math.min(14, 7 * startable(world).length),
    take: async (world, chance) => {
      const run = chance.choose(startable(world));
      if (run !== undefined) await work(world, startWorker(world, run, chance), chance);
    },
  },
  "second worker starts": {
    weight: (world) => living(world).length > 0 ? 1.5 : 0,
    take: async (world, chance) => {
      const run = chance.choose(world.runpod.open.filter(({ workers }) => workers.length > 0));
      if (run !== undefined) await work(world, startWorker(world, run, chance), chance);
    },
  },
  "worker works": {
    weight: (world) => Math.min(45, 12 * living(world).length),
    take: async (world, chance) => {
      const worker = chance.choose(living(world));
      if (worker !== undefined) await work(world, worker, chance);
    },
  },
  "client moves what finishes": {
    weight: (world) => Math.min(10, 10 * finishing(world).length),
    take: async (world, chance) => {
      const worker = chance.choose(finishing(world));
      if (worker === undefined) return;
      const what = chance.any(["cancel", "cancel", "cancel", "pause"] as const);
      const together = chance.chance(0.3);
      const moved = quietMove(world, what, worker.run.attempt.job);
      if (!together) await moved;
      await Promise.all([moved, work(world, worker, chance)]);
    },
  },
  "same worker claims again": {
    weight: (world) => living(world).length > 0 ? 0.5 : 0,
    take: (world, chance) => {
      const worker = chance.choose(living(world));
      if (worker === undefined || worker.pending !== null) return Promise.resolve();
      // Its handler was started anew, in the same process.
      worker.queue = [{ do: "claim again" }];
      return work(world, worker, chance);
    },
  },
  "message arrives": {
    weight: (world) => Math.min(12, 2 * world.messages.length),
    take: async (world, chance) => {
      const message = takeMessage(world, chance);
      if (message === undefined) return;
      if (chance.chance(0.2)) world.messages.push({ ...message, key: mix(message.key, world.seed) });
      await receive(world, message, await deliver(world, message, planOf(chance)));
    },
  },
  "message is lost": {
    weight: (world) => Math.min(4, 0.3 * world.messages.length),
    take: (world, chance) => Promise.resolve(void takeMessage(world, chance)),
  },
  "parked request goes on": {
    weight: (world) => Math.min(16, 3 * world.parked.length),
    take: async (world, chance) => {
      const one = chance.choose(world.parked);
      if (one === undefined) return;
      world.parked.splice(world.parked.indexOf(one), 1);
      const { flight } = one;
      if (chance.chance(0.25)) {
        flight.kill();
        world.crashes.callers++;
        return world.tell(`  ${flight.name} dies before ${flight.effects.at(-1)}`);
      }
      const plan = planOf(chance, 3);
      const landing = await flight.goOn(plan);
      world.tell(`  ${flight.name} goes on: ${landing} after ${flight.effects.join(", ")}`);
      world.landed(flight, landing, plan);
      if (landing !== "done") return;
      // Whoever asked has given up waiting; the answer must be a sound one all the same. 503 ("again") where another
      // call has moved the file on meanwhile.
      await world.answer(flight, flight.name === "verify" ? [503] : [403, 409]);
    },
  },
  "time goes on": {
    weight: () => 8,
    take: async (world, chance) => {
      const seconds = Number(
        chance.weighted({
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
      world.tell(`  ${seconds} s`);
      await world.jump(seconds);
    },
  },
  "RunPod's mischief": {
    weight: (world) => world.runpod.open.length > 0 ? 3 : 0,
    take: (world, chance) => Promise.resolve(mischief(world, chance)),
  },
  forgery: { weight: (world) => living(world).length > 0 ? 2 : 0, take: forge },
  "everybody at once": { weight: (world) => living(world).length > 0 ? 4 : 0, take: rush },
} satisfies Record<string, {
  weight: (world: World) => number;
  take: (world: World, chance: Random) => Promise<void>;
}>;
export type Kind = keyof typeof kinds;
export const kindNames = Object.keys(kinds) as Kind[];

function hasJobs(weight: number) {
  return (world: World) => world.jobs.size > 0 ? weight : 0;
}

/** The next step of a random walk. */
export function chooseStep(world: World, chance: Random): Step {
  const weights: Partial<Record<Kind, number>> = {};
  for (const kind of kindNames) weights[kind] = kinds[kind].weight(world);
  return { kind: chance.weighted(weights), seed: chance.bits() };
}

/** Takes it; with nothing to do it on, it does nothing. */
export async function takeStep(world: World, { kind, seed }: Step): Promise<void> {
  world.seed = seed;
  world.tell(kind);
  await kinds[kind].take(world, new Random(seed));
}

async function tick(world: World, plan: Plan): Promise<void> {
  const { landing, flight } = await world.tick(plan);
  world.tell(`  ${landing}: ${flight.effects.join(", ")}`);
  if (landing === "done") await world.answer(flight, []);
}

function takeMessage(world: World, chance: Random) {
  const message = chance.choose(world.messages);
  if (message !== undefined) world.messages.splice(world.messages.indexOf(message), 1);
  return message;
}

function mischief(world: World, chance: Random): void {
  const run = chance.choose(world.runpod.open);
  if (run === undefined) return;
  const what = chance.any([
    "worker lost",
    "worker lost, given to another",
    "deleted",
    "deleted, its worker goes on",
    "timed out",
    "cancelled by hand",
    "frozen",
  ]);
  world.tell(`  ${run.id}: ${what}`);
  switch (what) {
    case "worker lost":
      return world.runpod.over(run, "FAILED", null, "job timed out after 1 retries");
    case "worker lost, given to another":
      world.runpod.kill(run);
      run.status = "IN_QUEUE";
      return;
    case "deleted":
      world.runpod.kill(run);
      run.gone = true;
      return;
    case "deleted, its worker goes on":
      run.gone = true;
      return;
    case "timed out":
      return world.runpod.over(run, "TIMED_OUT", null, "executionTimeout exceeded");
    case "cancelled by hand":
      if (chance.chance(0.3)) world.runpod.over(run, "CANCELLED", null, null);
      return;
    case "frozen":
      return world.runpod.kill(run); // and RunPod goes on saying IN_PROGRESS
  }
}

/** Who does not hold the secret changes nothing. */
async function forge(world: World, chance: Random): Promise<void> {
  const worker = chance.choose(living(world));
  if (worker === undefined) return;
  const others = world.runpod.runs.filter((run) => run !== worker.run);
  const secret = chance.choose(others)?.secret ?? `whsec_${btoa("nobody's secret")}`;
  const { run } = worker;
  const held = { worker_id: worker.id, fence: worker.fence };
  const forged = chance.any([
    callback(world, run.attempt, worker, "claim", { worker_id: "thief", runpod_job_id: null }, secret, true),
    callback(world, run.attempt, worker, "finish", { ...held, outcome: "paused" }, secret, true),
    callback(world, run.attempt, worker, "finish", { ...held, outcome: "paused" }, null, true),
    {
      ...callback(world, run.attempt, worker, "webhook", { id: run.id, status: "COMPLETED" }, null, true),
      url: run.webhook.slice(0, -5) + "wrong",
    },
  ]);
  await deliver(world, forged, smooth);
}

/** Truly at the same time, on several connections: schedulers, claims of one attempt, a client, a worker's next call. */
async function rush(world: World, chance: Random): Promise<void> {
  const worker = chance.choose(living(world));
  if (worker === undefined) return;
  const { run } = worker;
  if (run.gone || isOver(run)) return;
  const claims = [1, 2].map((n) => {
    const rival = startWorker(world, run, chance);
    // One of them does not live to read its answer; the other will ask again.
    rival.alive = n === 1;
    return callback(world, run.attempt, rival, "claim", { worker_id: rival.id, runpod_job_id: run.id });
  });
  const ended = [...world.messages].filter(({ attempt, name }) =>
    attempt === run.attempt && name === "finish"
  );
  const late = chance.choose(ended);
  await Promise.all([
    ...(chance.chance(0.5) ? [tick(world, smooth), tick(world, smooth)] : []),
    ...claims.map((message) => deliver(world, message, smooth)),
    ...(late === undefined ? [] : [deliver(world, late, smooth)]),
    ...(chance.chance(0.3) ? [quietMove(world, chance.any(["pause", "resume"]), run.attempt.job)] : []),
    ...(worker.pending === null && worker.queue.length > 0 ? [work(world, worker, chance)] : []),
  ]);
}

/** A client's move whose answer depends on who was first. */
async function quietMove(world: World, what: "cancel" | "pause" | "resume", job: Job): Promise<void> {
  const { flight } = await world.send(
    "tunebase",
    what,
    `/fine_tuning/jobs/ftjob-${job.id.replaceAll("-", "")}/${what}`,
    {
      method: "POST",
      headers: { authorization: `Bearer ${world.projects[job.project]?.apiKey}` },
    },
    smooth,
  );
  await world.answer(flight, [409]);
}
