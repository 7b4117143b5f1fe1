/** What clients do: create jobs, also the same one again, cancel, pause and resume them. */
import type { Plan } from "./faults.ts";
import { final, type Intent, type Job } from "./model.ts";
import { mix, type Random } from "./random.ts";
import type { World } from "./environment.ts";

/** Within it an SDK's own retry, without a key, is known as one. */
const retryWindowMs = 9 * 60_000;
/** A key is kept for a day. */
const keyWindowMs = 23 * 3_600_000;

/** A job that is meant once. */
export async function create(world: World, chance: Random, plan: Plan): Promise<void> {
  const key = mix(world.seed, 1);
  const project = chance.below(world.projects.length);
  const intent: Intent = {
    key,
    project,
    idempotencyKey: chance.chance(0.5) ? `key-${key}` : null,
    body: {
      model: chance.chance(0.8) ? "plenty" : "scarce",
      training_file: world.projects[project]?.file,
      metadata: { intent: String(key) },
      hyperparameters: { n_epochs: 1 + chance.below(3) },
      ...(chance.chance(0.2) ? { spend_cap_usd: 0.2 + chance.below(20) / 10 } : {}),
    },
    firstSent: world.now(),
    sent: 0,
    jobs: new Set(),
  };
  world.intents.push(intent);
  await send(world, intent, intent.body, plan, []);
}

/** The same again: a person's, a proxy's or the SDK's retry; or, wrongly, another body under the same key. */
export async function createAgain(world: World, chance: Random, plan: Plan): Promise<void> {
  const all = world.intents.filter((one) => canSendAgain(world, one));
  // Often one that has no job yet: its first request may still be on its way.
  const open = all.filter(({ jobs }) => jobs.size === 0);
  const intent = chance.choose(chance.chance(0.5) && open.length > 0 ? open : all);
  if (intent === undefined) return world.tell("  (nothing to create again)");
  if (intent.idempotencyKey !== null && intent.jobs.size > 0 && chance.chance(0.1)) {
    await send(world, intent, { ...intent.body, suffix: "other" }, plan, [409]);
  } else await send(world, intent, intent.body, plan, []);
}

export const canSendAgain = (world: World, intent: Intent): boolean =>
  world.now() - intent.firstSent < (intent.idempotencyKey === null ? retryWindowMs : keyWindowMs);

async function send(
  world: World,
  intent: Intent,
  body: Record<string, unknown>,
  plan: Plan,
  more: number[],
): Promise<void> {
  const headers: Record<string, string> = {
    "content-type": "application/json",
    authorization: `Bearer ${world.projects[intent.project]?.apiKey}`,
    "x-stainless-retry-count": String(intent.sent++),
    ...(intent.idempotencyKey === null ? {} : { "idempotency-key": intent.idempotencyKey }),
  };
  world.tell(
    `  create ${intent.key} (${
      intent.idempotencyKey === null ? "no key" : "key"
    }), sent ${intent.sent} times`,
  );
  const { landing, flight } = await world.send("tunebase", "create", "/fine_tuning/jobs", {
    method: "POST",
    headers,
    body: JSON.stringify(body),
  }, plan);
  if (landing !== "done") return world.tell(`  ${landing} after ${flight.effects.join(", ")}`);
  // 403: the project's spend cap.
  const answer = await world.answer(flight, [403, ...more]);
  if (answer === null) return;
  const job = world.jobs.get(uuidOf(String(answer.id)));
  if (job === undefined) return world.wrong(`lost: ${answer.id} was accepted and is not there`);
  if (!intent.jobs.has(job.id)) {
    world.wrong(`doubled: create ${intent.key} was answered with another's job ${job.id}`);
  }
  if (more.length > 0) world.wrong(`doubled: another body under the key ${intent.idempotencyKey} was taken`);
  job.acknowledged = true;
  world.tell(`  → job ${job.id}`);
}

/** A client's move of a job; any job, also one that has ended long ago. */
export async function move(
  world: World,
  what: "cancel" | "pause" | "resume",
  job: Job | undefined,
  plan: Plan,
): Promise<void> {
  if (job === undefined) return world.tell("  (no job)");
  const [before] = await world.sql`select status, pause_requested from tunebase.jobs where id = ${job.id}`;
  world.tell(`  ${what} ${job.id}, which is ${before?.status}`);
  const { landing, flight } = await world.send(
    "tunebase",
    what,
    `/fine_tuning/jobs/ftjob-${plain(job.id)}/${what}`,
    {
      method: "POST",
      headers: { authorization: `Bearer ${world.projects[job.project]?.apiKey}` },
    },
    plan,
  );
  if (landing !== "done") return world.tell(`  ${landing} after ${flight.effects.join(", ")}`);
  const status = flight.response?.status;
  const answer = await world.answer(flight, [409]);
  // Nothing else was under way: the answer follows from what was there. A repeat after a lost answer may differ.
  if (flight.disturbed || world.parked.length > 0) return;
  const refused = final(String(before?.status)) ||
    (what === "resume" && before?.status !== "paused" && !before?.pause_requested);
  if (refused !== (status === 409)) {
    world.wrong(`unexpected_answer: ${what} of a job that is ${before?.status} was answered ${status}`);
  }
  if (answer === null) return;
  const expected = what === "cancel"
    ? ["cancelled"]
    : what === "pause"
    ? ["paused", "running"]
    : ["queued", "running"];
  if (!expected.includes(String(answer.status))) {
    world.wrong(`unexpected_answer: ${what} left the job ${answer.status}`);
  }
}

const plain = (uuid: string) => uuid.replaceAll("-", "");
const uuidOf = (id: string) =>
  id.slice("ftjob-".length).replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
