/** Client actions: create jobs, retry creates, and cancel, pause and resume jobs. */
import type { FaultPlan } from "./faults.ts";
import { final, type Intent, type Job } from "./model.ts";
import { mix, type Random } from "./random.ts";
import type { Environment } from "./environment.ts";

/** The server recognizes an SDK retry without an idempotency key within this time. */
const retryWindowMs = 9 * 60_000;
/** Idempotency keys expire after a day. */
const keyWindowMs = 23 * 3_600_000;

/** Creates a new job. */
export async function createJob(env: Environment, random: Random, plan: FaultPlan): Promise<void> {
  const key = mix(env.seed, 1);
  const project = random.below(env.projects.length);
  const intent: Intent = {
    key,
    project,
    idempotencyKey: random.chance(0.5) ? `key-${key}` : null,
    body: {
      model: random.chance(0.8) ? "plenty" : "scarce",
      training_file: env.projects[project]?.file,
      metadata: { intent: String(key) },
      hyperparameters: { n_epochs: 1 + random.below(3) },
      ...(random.chance(0.2) ? { spend_cap_usd: 0.2 + random.below(20) / 10 } : {}),
    },
    firstSent: env.now(),
    sent: 0,
    jobs: new Set(),
  };
  env.intents.push(intent);
  await send(env, intent, intent.body, plan, []);
}

/** Sends an earlier create again (a retry by a person, a proxy or the SDK), or reuses its key with a different body. */
export async function retryCreate(env: Environment, random: Random, plan: FaultPlan): Promise<void> {
  const all = env.intents.filter((one) => canRetryCreate(env, one));
  // Prefer creates without a job: their first request may still be in flight.
  const open = all.filter(({ jobs }) => jobs.size === 0);
  const intent = random.choose(random.chance(0.5) && open.length > 0 ? open : all);
  if (intent === undefined) return env.note("  (nothing to create again)");
  if (intent.idempotencyKey !== null && intent.jobs.size > 0 && random.chance(0.1)) {
    await send(env, intent, { ...intent.body, suffix: "other" }, plan, [409]);
  } else await send(env, intent, intent.body, plan, []);
}

export const canRetryCreate = (env: Environment, intent: Intent): boolean =>
  env.now() - intent.firstSent < (intent.idempotencyKey === null ? retryWindowMs : keyWindowMs);

async function send(
  env: Environment,
  intent: Intent,
  body: Record<string, unknown>,
  plan: FaultPlan,
  more: number[],
): Promise<void> {
  const headers: Record<string, string> = {
    "content-type": "application/json",
    authorization: `Bearer ${env.projects[intent.project]?.apiKey}`,
    "x-stainless-retry-count": String(intent.sent++),
    ...(intent.idempotencyKey === null ? {} : { "idempotency-key": intent.idempotencyKey }),
  };
  env.note(
    `  create ${intent.key} (${
      intent.idempotencyKey === null ? "no key" : "key"
    }), sent ${intent.sent} times`,
  );
  const { outcome, request } = await env.send("tunebase", "create", "/fine_tuning/jobs", {
    method: "POST",
    headers,
    body: JSON.stringify(body),
  }, plan);
  if (outcome !== "done") return env.note(`  ${outcome} after ${request.effects.join(", ")}`);
  // 403: the project's spend cap.
  const answer = await env.answer(request, [403, ...more]);
  if (answer === null) return;
  const job = env.jobs.get(uuidOf(String(answer.id)));
  if (job === undefined) return env.reportProblem(`lost: ${answer.id} was accepted but does not exist`);
  if (!intent.jobs.has(job.id)) {
    env.reportProblem(`duplicate: create request ${intent.key} returned the job of another, ${job.id}`);
  }
  if (more.length > 0) {
    env.reportProblem(`duplicate: idempotency key ${intent.idempotencyKey} was accepted with another body`);
  }
  job.acknowledged = true;
  env.note(`  → job ${job.id}`);
}

/** Cancels, pauses or resumes any job, including one that ended long ago. */
export async function jobAction(
  env: Environment,
  what: "cancel" | "pause" | "resume",
  job: Job | undefined,
  plan: FaultPlan,
): Promise<void> {
  if (job === undefined) return env.note("  (no job)");
  const [before] = await env.sql`select status, pause_requested from tunebase.jobs where id = ${job.id}`;
  env.note(`  ${what} ${job.id}, which is ${before?.status}`);
  const { outcome, request } = await env.send(
    "tunebase",
    what,
    `/fine_tuning/jobs/ftjob-${plain(job.id)}/${what}`,
    {
      method: "POST",
      headers: { authorization: `Bearer ${env.projects[job.project]?.apiKey}` },
    },
    plan,
  );
  if (outcome !== "done") return env.note(`  ${outcome} after ${request.effects.join(", ")}`);
  const status = request.response?.status;
  const answer = await env.answer(request, [409]);
  // With nothing else in flight, the answer follows from the status. A retry after a lost answer may differ.
  if (request.faultInjected || env.parked.length > 0) return;
  const refused = final(String(before?.status)) ||
    (what === "resume" && before?.status !== "paused" && !before?.pause_requested);
  if (refused !== (status === 409)) {
    env.reportProblem(`unexpected_answer: ${what} of a ${before?.status} job returned ${status}`);
  }
  if (answer === null) return;
  const expected = what === "cancel"
    ? ["cancelled"]
    : what === "pause"
    ? ["paused", "running"]
    : ["queued", "running"];
  if (!expected.includes(String(answer.status))) {
    env.reportProblem(`unexpected_answer: after ${what}, the job is ${answer.status}`);
  }
}

const plain = (uuid: string) => uuid.replaceAll("-", "");
const uuidOf = (id: string) =>
  id.slice("ftjob-".length).replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
