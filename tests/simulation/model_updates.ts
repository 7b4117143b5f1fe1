/** What the model learns from each statement that was carried out, and what of it must not be. */
import type { Flight } from "./faults.ts";
import type { Attempt, Message } from "./model.ts";
import { mix } from "./random.ts";
import { leaseSeconds, type World } from "./environment.ts";

const uuid = /[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/;
/** Postgres read its clock a little before the answer came here. */
const slackMs = 1500;

interface Claimed {
  claimed: { attempt: { id: string; job_id: string; number: number } }[];
}
type Answer = Record<string, unknown>;

/** `given` is the statement with its arguments, `result` what the function returned. */
export async function observe(
  world: World,
  name: string,
  given: string,
  result: unknown,
  flight: Flight | undefined,
): Promise<void> {
  const message = flight?.message ?? null;
  const attempt = message?.attempt ?? world.attempts.get(uuid.exec(given)?.[0] ?? "");
  if (message?.forged) world.wrong(`forged: ${name} was called for a forged ${message.name}`);
  switch (name) {
    case "create_job":
      return created(world, result as { id: string; metadata: { intent: string } });
    case "cancel_job":
    case "pause_job": {
      const job = world.jobs.get((result as { id: string }).id);
      if (job === undefined) return;
      if (name === "cancel_job") job.cancelled = true;
      return;
    }
    case "claim_dispatch":
      return sent(world, result as Claimed);
    case "claim_attempt":
      if (attempt !== undefined && message !== null) claimed(world, attempt, message, result as Answer);
      return;
    case "record_progress":
      if (attempt !== undefined && message !== null) reported(world, attempt, message, result as Answer);
      return;
    case "record_dispatch_rejected":
      if (attempt !== undefined && attempt.started > 0) {
        world.wrong(`doubled: /run of attempt ${attempt.id} may have started it, and the job is sent again`);
      }
      return;
    case "finish_attempt":
      if (attempt !== undefined && message !== null) {
        await finished(world, attempt, message, result as Answer);
      }
      return;
  }
}

function created(world: World, row: { id: string; metadata: { intent: string } }): void {
  const intent = world.intents.find(({ key }) => key === Number(row.metadata.intent));
  if (intent === undefined) return world.wrong(`doubled: job ${row.id} that nobody asked for`);
  if (!intent.jobs.has(row.id)) {
    const key = mix(intent.key, intent.jobs.size);
    intent.jobs.add(row.id);
    world.jobs.set(row.id, {
      key,
      id: row.id,
      project: intent.project,
      acknowledged: false,
      cancelled: false,
      reasons: new Set(),
      attempts: [],
      metrics: new Map(),
      judged: false,
    });
  }
  if (intent.jobs.size > 1) {
    world.wrong(
      `doubled: one create, sent more than once (${
        intent.idempotencyKey ?? "by the SDK's retry"
      }), made ${intent.jobs.size} jobs`,
    );
  }
}

function sent(world: World, { claimed }: Claimed): void {
  for (const { attempt: { id, job_id, number } } of claimed) {
    const job = world.jobs.get(job_id);
    if (job === undefined) {
      world.wrong(`doubled: job ${job_id}, which no create has made, is sent`);
      continue;
    }
    if (number !== job.attempts.length + 1) {
      world.wrong(`doubled: job ${job_id} has attempt ${number} after ${job.attempts.length}`);
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
      unwanted: false,
      claims: new Map(),
    };
    job.attempts.push(attempt);
    world.attempts.set(id, attempt);
  }
}

function claimed(world: World, attempt: Attempt, message: Message, result: Answer): void {
  const { worker } = message;
  if (result.claimed !== true) {
    // The holder itself asked again, in a new call, and was told that it is over.
    if (result.reason === "ended" && worker === attempt.holder) attempt.outcome ??= "ended";
    return;
  }
  const fence = Number(result.fence);
  const before = attempt.claims.get(message.id) ?? fence;
  if (before !== fence) {
    world.wrong(
      `doubled: one claim, delivered again, got fence ${before} and then ${fence} of attempt ${attempt.id}`,
    );
  }
  // Again the answer that it got: once it has reported, nothing is extended by it.
  if (attempt.claims.has(message.id) && attempt.sequence > 0) return;
  attempt.claims.set(message.id, fence);
  const now = world.now();
  for (const other of attempt.job.attempts) {
    // Who has given the attempt back, or was ordered to stop, trains no more.
    if (other.outcome !== null || other.unwanted || other.holder === null || other.holder === worker) {
      continue;
    }
    if (other.lease > now + slackMs) {
      world.wrong(
        `doubled: worker ${worker?.id} was given attempt ${attempt.id} while ${other.holder.id} holds ` +
          `attempt ${other.number} for another ${Math.round((other.lease - now) / 1000)} s`,
      );
    }
  }
  if (fence < attempt.fence || (fence === attempt.fence && attempt.holder !== worker)) {
    world.wrong(`doubled: fence ${fence} of attempt ${attempt.id} was given to two`);
  }
  Object.assign(attempt, { fence, holder: worker, sequence: 0, lease: now + leaseSeconds * 1000 });
}

/** Whether this callback comes from who holds the attempt, as far as the model knows. */
function holds(attempt: Attempt, body: Answer): boolean {
  return attempt.holder !== null && body.worker_id === attempt.holder.id && body.fence === attempt.fence;
}

function reported(world: World, attempt: Attempt, { body }: { body: Answer }, result: Answer): void {
  if (result.order === "stop") return;
  if (!holds(attempt, body)) {
    return world.wrong(
      `doubled: a report of ${body.worker_id}, fence ${body.fence}, was taken; ${attempt.holder?.id} holds attempt ` +
        `${attempt.id} with fence ${attempt.fence}`,
    );
  }
  if (attempt.outcome !== null) {
    world.wrong(`wrong_terminal: a report was taken after attempt ${attempt.id} had ended`);
  }
  if (Number(body.sequence) <= attempt.sequence) return;
  attempt.sequence = Number(body.sequence);
  attempt.lease = world.now() + leaseSeconds * 1000;
  if (result.order === "cancel") {
    attempt.unwanted = true;
    return;
  }
  for (const { step } of body.metrics as { step: number }[]) {
    attempt.job.metrics.set(step, Math.max(attempt.job.metrics.get(step) ?? 0, attempt.number));
  }
}

async function finished(
  world: World,
  attempt: Attempt,
  { body }: { body: Answer },
  result: Answer,
): Promise<void> {
  const outcome = String(body.outcome);
  const [row] = await world.sql`select state, outcome, fence from tunebase.attempts where id = ${attempt.id}`;
  if (result.accepted === true) {
    if (!holds(attempt, body)) {
      world.wrong(
        `doubled: ${outcome} of ${body.worker_id}, fence ${body.fence}, was taken; it does not hold it`,
      );
    }
    if (outcome === "failed") attempt.job.reasons.add(String(body.error_code));
    if (row?.state === "ended") attempt.outcome = String(row.outcome);
    else attempt.lease = world.now(); // it stopped by itself: RunPod is asked why
    return;
  }
  if (outcome !== "succeeded" || row?.state !== "running" || !holds(attempt, body)) return;
  // Refused while it holds the attempt: then a file must be missing.
  const { files } = body.manifest as { files: { path: string; bytes: number; sha256: string }[] };
  const verified = await world
    .sql`select path, sha256 from tunebase_internal.verified_files where attempt_id = ${attempt.id}`;
  if (files.every((file) => verified.some((one) => one.path === file.path && one.sha256 === file.sha256))) {
    world.wrong(`wrong_terminal: a whole adapter of attempt ${attempt.id} was refused: ${result.detail}`);
  }
}
