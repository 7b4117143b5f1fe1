/** Updates the model with the result of each statement, and reports results that violate it. */
import type { SimulatedRequest } from "./faults.ts";
import type { Attempt, Message } from "./model.ts";
import { mix } from "./random.ts";
import { type Environment, leaseSeconds } from "./environment.ts";

const uuid = /[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/;
/** Postgres reads its clock shortly before the answer arrives. */
const slackMs = 1500;

interface Claimed {
  claimed: { attempt: { id: string; job_id: string; number: number } }[];
}
type Answer = Record<string, unknown>;

/** `given` is the statement with its arguments, `result` what the function returned. */
export async function observe(
  env: Environment,
  name: string,
  given: string,
  result: unknown,
  request: SimulatedRequest | undefined,
): Promise<void> {
  const message = request?.message ?? null;
  const attempt = message?.attempt ?? env.attempts.get(uuid.exec(given)?.[0] ?? "");
  if (message?.forged) env.reportProblem(`forged: ${name} was called for a forged ${message.name}`);
  switch (name) {
    case "create_job":
      return created(env, result as { id: string; metadata: { intent: string } });
    case "cancel_job":
    case "pause_job": {
      const job = env.jobs.get((result as { id: string }).id);
      if (job === undefined) return;
      if (name === "cancel_job") job.cancelled = true;
      return;
    }
    case "claim_dispatch":
      return sent(env, result as Claimed);
    case "claim_attempt":
      if (attempt !== undefined && message !== null) claimed(env, attempt, message, result as Answer);
      return;
    case "record_progress":
      if (attempt !== undefined && message !== null) reported(env, attempt, message, result as Answer);
      return;
    case "record_dispatch_rejected":
      if (attempt !== undefined && attempt.started > 0) {
        env.reportProblem(
          `duplicate: /run may have started attempt ${attempt.id}, and the job is dispatched again`,
        );
      }
      return;
    case "finish_attempt":
      if (attempt !== undefined && message !== null) {
        await finished(env, attempt, message, result as Answer);
      }
      return;
  }
}

function created(env: Environment, row: { id: string; metadata: { intent: string } }): void {
  const intent = env.intents.find(({ key }) => key === Number(row.metadata.intent));
  if (intent === undefined) return env.reportProblem(`duplicate: job ${row.id} belongs to no create request`);
  if (!intent.jobs.has(row.id)) {
    const key = mix(intent.key, intent.jobs.size);
    intent.jobs.add(row.id);
    env.jobs.set(row.id, {
      key,
      id: row.id,
      project: intent.project,
      acknowledged: false,
      cancelled: false,
      reasons: new Set(),
      attempts: [],
      metrics: new Map(),
      checked: false,
    });
  }
  if (intent.jobs.size > 1) {
    env.reportProblem(
      `duplicate: one create request, retried (${
        intent.idempotencyKey ?? "by the SDK's retry"
      }), created ${intent.jobs.size} jobs`,
    );
  }
}

function sent(env: Environment, { claimed }: Claimed): void {
  for (const { attempt: { id, job_id, number } } of claimed) {
    const job = env.jobs.get(job_id);
    if (job === undefined) {
      env.reportProblem(`duplicate: job ${job_id} is dispatched but belongs to no create request`);
      continue;
    }
    if (number !== job.attempts.length + 1) {
      env.reportProblem(
        `duplicate: job ${job_id} has attempt ${number} after attempt ${job.attempts.length}`,
      );
    }
    const attempt: Attempt = {
      key: mix(job.key, number),
      id,
      number,
      job,
      started: 0,
      fence: 0,
      holder: null,
      lease: 0,
      sequence: 0,
      outcome: null,
      cancelRequested: false,
      claims: new Map(),
    };
    job.attempts.push(attempt);
    env.attempts.set(id, attempt);
  }
}

function claimed(env: Environment, attempt: Attempt, message: Message, result: Answer): void {
  const { worker } = message;
  if (result.claimed !== true) {
    // The holder claimed again in a new call and learned that the attempt has ended.
    if (result.reason === "ended" && worker === attempt.holder) attempt.outcome ??= "ended";
    return;
  }
  const fence = Number(result.fence);
  const before = attempt.claims.get(message.id) ?? fence;
  if (before !== fence) {
    env.reportProblem(
      `duplicate: a redelivered claim of attempt ${attempt.id} received fence ${before}, then ${fence}`,
    );
  }
  // A repeated claim returns the same answer; after a report it extends no lease.
  if (attempt.claims.has(message.id) && attempt.sequence > 0) return;
  attempt.claims.set(message.id, fence);
  const now = env.now();
  for (const other of attempt.job.attempts) {
    // A worker that returned the attempt, or was told to cancel, no longer trains.
    if (other.outcome !== null || other.cancelRequested || other.holder === null || other.holder === worker) {
      continue;
    }
    if (other.lease > now + slackMs) {
      env.reportProblem(
        `duplicate: worker ${worker?.id} claimed attempt ${attempt.id} while ${other.holder.id} holds ` +
          `attempt ${other.number} for another ${Math.round((other.lease - now) / 1000)} s`,
      );
    }
  }
  if (fence < attempt.fence || (fence === attempt.fence && attempt.holder !== worker)) {
    env.reportProblem(`duplicate: two workers received fence ${fence} of attempt ${attempt.id}`);
  }
  Object.assign(attempt, { fence, holder: worker, sequence: 0, lease: now + leaseSeconds * 1000 });
}

/** Whether the sender of this callback holds the attempt, according to the model. */
function holds(attempt: Attempt, body: Answer): boolean {
  return attempt.holder !== null && body.worker_id === attempt.holder.id && body.fence === attempt.fence;
}

function reported(env: Environment, attempt: Attempt, { body }: { body: Answer }, result: Answer): void {
  if (result.directive === "stop") return;
  if (!holds(attempt, body)) {
    return env.reportProblem(
      `duplicate: a report of ${body.worker_id}, fence ${body.fence}, was accepted; ${attempt.holder?.id} holds attempt ` +
        `${attempt.id} with fence ${attempt.fence}`,
    );
  }
  if (attempt.outcome !== null) {
    env.reportProblem(`wrong_terminal: a report was accepted after attempt ${attempt.id} had ended`);
  }
  if (Number(body.sequence) <= attempt.sequence) return;
  attempt.sequence = Number(body.sequence);
  attempt.lease = env.now() + leaseSeconds * 1000;
  if (result.directive === "cancel") {
    attempt.cancelRequested = true;
    return;
  }
  for (const { step } of body.metrics as { step: number }[]) {
    attempt.job.metrics.set(step, Math.max(attempt.job.metrics.get(step) ?? 0, attempt.number));
  }
}

async function finished(
  env: Environment,
  attempt: Attempt,
  { body }: { body: Answer },
  result: Answer,
): Promise<void> {
  const outcome = String(body.outcome);
  const [row] = await env.sql`select state, outcome, fence from tunebase.attempts where id = ${attempt.id}`;
  if (result.accepted === true) {
    if (!holds(attempt, body)) {
      env.reportProblem(
        `duplicate: ${outcome} of ${body.worker_id}, fence ${body.fence}, was accepted; it does not hold the attempt`,
      );
    }
    if (outcome === "failed") attempt.job.reasons.add(String(body.error_code));
    if (row?.state === "ended") attempt.outcome = String(row.outcome);
    else attempt.lease = env.now(); // the scheduler asks RunPod why it stopped
    return;
  }
  if (outcome !== "succeeded" || row?.state !== "running" || !holds(attempt, body)) return;
  // Rejected although it holds the attempt: a file must be missing.
  const { files } = body.manifest as { files: { path: string; bytes: number; sha256: string }[] };
  const verified = await env
    .sql`select path, sha256 from tunebase_internal.verified_files where attempt_id = ${attempt.id}`;
  if (files.every((file) => verified.some((one) => one.path === file.path && one.sha256 === file.sha256))) {
    env.reportProblem(
      `wrong_terminal: a complete adapter of attempt ${attempt.id} was rejected: ${result.detail}`,
    );
  }
}
