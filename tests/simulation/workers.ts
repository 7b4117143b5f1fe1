/**
 * Workers at RunPod: each claims, reports, saves checkpoints and ends in some way. `work` runs a worker's next action; a
 * worker whose answer is lost repeats the call, as the trainer does.
 */
import { createHash } from "node:crypto";
import { noFaults } from "./faults.ts";
import type { Action, File, Message, Run, Worker } from "./model.ts";
import { callback, deliver } from "./messages.ts";
import { manifest } from "../support/fake_worker.ts";
import { mix, type Random } from "./random.ts";
import { randomFaultPlan } from "./fault_plans.ts";
import type { Environment } from "./environment.ts";

type Reply = Record<string, unknown>;

const endings = {
  "succeeds": 52,
  "succeeds with a damaged file": 6,
  "uploads and never calls again": 6,
  "uploads and its finish is lost": 5,
  "fails, user's fault": 4,
  "fails, infrastructure": 8,
  "fails, operator's fault": 2,
  "is preempted": 5,
  "pauses unasked": 2,
  "is cancelled at RunPod": 2,
  "is killed": 6,
  "completes without an artifact": 4,
};
const codes: Record<string, string[]> = {
  "fails, user's fault": ["out_of_memory", "non_finite_loss", "no_trainable_rows"],
  "fails, infrastructure": ["upload_failed", "trainer_killed", "internal_error", "disk_full"],
  "fails, operator's fault": ["base_model_not_found", "unsupported_gpu"],
};

/** RunPod assigns a run to a worker, possibly a second one. */
export function startWorker(env: Environment, run: Run, random: Random): Worker {
  const worker: Worker = {
    key: mix(env.seed, run.key, run.workers.length),
    id: `w${run.workers.length + 1}-${run.attempt.number}-${run.attempt.job.key}`,
    run,
    alive: true,
    fence: 0,
    sequence: 0,
    step: 0,
    steps: 1 + random.below(5),
    ending: env.faultsDisabled ? "succeeds" : random.weighted(endings),
    queue: [{ do: "claim" }],
    pending: null,
    ignoredStops: 0,
  };
  run.workers.push(worker);
  run.status = "IN_PROGRESS";
  run.startedAt ??= env.now();
  env.note(`  ${worker.id} gets ${run.id}; it ${worker.ending} after ${worker.steps} reports`);
  return worker;
}

/** Runs the worker's next action. */
export async function work(env: Environment, worker: Worker, random: Random): Promise<void> {
  const { pending } = worker;
  if (pending !== null) {
    // No answer: send it again with a new signature. Only reports are abandoned after some tries.
    pending.tries++;
    pending.message = { ...pending.message, signedAt: env.now() };
    if (pending.tries > 6 && pending.message.name === "report") {
      worker.pending = null;
      return;
    }
    return await sendWithFaults(env, worker, pending.message, random);
  }
  const action = worker.queue.shift() ?? next(worker, random);
  await act(env, worker, action, random);
}

function next(worker: Worker, random: Random): Action {
  if (worker.steps > 0) {
    worker.steps--;
    return { do: random.chance(0.3) ? "checkpoint" : "report" };
  }
  const { ending } = worker;
  const code = codes[ending];
  if (code !== undefined) {
    const failure = { error_code: random.any(code), error_message: `It ${ending}.`, hint: "" };
    return { do: "finish", body: { outcome: "failed", ...failure } };
  }
  switch (ending) {
    case "is preempted":
      return { do: "finish", body: { outcome: "preempted", reason: "taken away" } };
    case "pauses unasked":
      return { do: "finish", body: { outcome: "paused" } };
    case "is cancelled at RunPod":
      return { do: "finish", body: { outcome: "cancelled" } };
    case "is killed":
      return { do: "vanish", output: null };
    case "completes without an artifact":
      return { do: "vanish", output: { status: "completed", progress: 100 } };
  }
  return adapter(worker, random);
}

/** The adapter's files; different for every worker. */
function adapter(worker: Worker, random: Random): Action {
  const texts = ["adapter_config.json", "adapter_model.safetensors"].slice(random.below(2)).map((name) =>
    `${name} by ${worker.id} of ${worker.run.attempt.job.id}, try ${random.below(9)}`
  );
  const files = texts.map((text) => file(text.split(" ")[0] ?? "", text));
  const whole = manifest(files.map((one) => ({ ...one })));
  const result = { status: "completed", job_id: worker.run.attempt.job.id, manifest: whole };
  const silent = worker.ending.startsWith("uploads and");
  const note = JSON.stringify(whole);
  if (silent) {
    texts.push(note);
    files.push(file("manifest.json", note));
    worker.queue.push({
      do: "vanish",
      output: worker.ending === "uploads and never calls again" ? null : result,
    });
  } else {
    worker.queue.push(
      ...files.map((one) => ({ do: "verify" as const, file: one })),
      { do: "finish", body: { outcome: "succeeded", manifest: whole } },
    );
  }
  return { do: "upload", files, texts, damage: worker.ending === "succeeds with a damaged file" };
}

const file = (path: string, text: string): File => ({
  path,
  bytes: new TextEncoder().encode(text).length,
  sha256: createHash("sha256").update(text).digest("hex"),
});

async function act(env: Environment, worker: Worker, action: Action, random: Random): Promise<void> {
  const { run } = worker;
  const say = (name: string, body: Reply, then: (reply: Reply) => void) => {
    const message = callback(env, run.attempt, worker, name, { worker_id: worker.id, ...body });
    worker.pending = { message, then, tries: 0 };
    return sendWithFaults(env, worker, message, random);
  };
  const held = { fence: worker.fence };
  switch (action.do) {
    case "claim":
    case "claim again":
      return await say("claim", { runpod_job_id: run.id }, (reply) => {
        if (reply.claimed !== true) return exit(env, worker, { status: "refused", detail: "" });
        worker.fence = Number(reply.fence);
        worker.sequence = 0;
        const resume = reply.resume as { step: number } | null;
        worker.step = resume?.step ?? 0;
      });
    case "report":
      return await say(
        "report",
        { ...held, ...report(worker, random, []) },
        (reply) => handleDirective(env, worker, reply),
      );
    case "checkpoint": {
      const step = worker.step + 1;
      const text = `state of ${worker.id} after ${step}`;
      const saved = file(`checkpoints/${step}/trainer_state.json`, text);
      worker.queue.unshift(
        { do: "upload", files: [saved], texts: [text], damage: random.chance(0.1) },
        { do: "verify", file: saved },
        { do: "report checkpoint", step, files: [saved] },
      );
      return;
    }
    case "report checkpoint": {
      const checkpoint = {
        step: action.step,
        epoch: 1,
        training_loss: 1,
        validation_loss: null,
        files: action.files,
      };
      const body = { ...held, ...report(worker, random, [checkpoint]) };
      return await say("report", body, (reply) => handleDirective(env, worker, reply));
    }
    case "upload":
      return await say("uploads", { ...held, paths: action.files.map(({ path }) => path) }, (reply) => {
        if (!handleDirective(env, worker, reply)) return;
        worker.queue.unshift({ ...action, do: "upload", files: [] });
        const targets = reply.targets as { bucket: string; object: string; token: string }[];
        uploads.set(worker, targets);
      });
    case "verify":
      return await say(
        "verify",
        { ...held, file: action.file },
        (reply) => handleDirective(env, worker, reply),
      );
    case "finish":
      return await say("finish", { ...held, ...action.body }, (reply) => {
        if (reply.accepted === true || action.body.outcome !== "succeeded") {
          return exit(env, worker, output(worker, action.body));
        }
        // A file did not arrive; report it.
        const failure = { error_code: "upload_failed", error_message: "a file is missing", hint: "" };
        worker.queue = [{ do: "finish", body: { outcome: "failed", ...failure } }];
      });
    case "vanish":
      return exit(env, worker, action.output);
  }
}

const uploads = new WeakMap<Worker, { bucket: string; object: string; token: string }[]>();

function report(worker: Worker, random: Random, checkpoints: unknown[]): Reply {
  const first = worker.step + 1;
  worker.step += checkpoints.length > 0 ? 1 : 1 + random.below(2);
  const metrics = [];
  for (let step = first; step <= worker.step; step++) {
    metrics.push({
      step,
      epoch: step / 10,
      training_loss: 1 / step,
      validation_loss: null,
      learning_rate: 1e-4,
      gradient_norm: 1,
      tokens_per_second: 100,
      gpu_utilization: null,
      gpu_memory_gb: null,
    });
  }
  return {
    sequence: ++worker.sequence,
    stage: "training",
    progress: Math.min(100, worker.step * 5 + random.below(5)),
    current_epoch: worker.step / 10,
    total_epochs: 2,
    current_step: worker.step,
    total_steps: 20,
    trained_tokens: worker.step * 100,
    seconds_left: random.chance(0.2) ? null : 30,
    metrics,
    events: random.chance(0.3) ? [{ level: "info", message: `a line of ${worker.id}` }] : [],
    checkpoints,
  };
}

/** Follows the directive; returns false if the worker must stop. Some workers ignore `stop` for a few calls. */
function handleDirective(env: Environment, worker: Worker, { directive }: Reply): boolean {
  if (directive === "cancel") worker.queue = [{ do: "finish", body: { outcome: "cancelled" } }];
  if (directive === "pause" && worker.queue.at(-1)?.do !== "finish") {
    worker.queue.push({ do: "finish", body: { outcome: "paused" } });
  }
  if (directive === "stop") {
    if (worker.ignoredStops === 0) worker.ignoredStops = env.faultsDisabled ? 1 : mix(worker.key) % 3 + 1;
    if (--worker.ignoredStops === 0) exit(env, worker, { status: "refused", detail: "" });
  }
  return directive === "continue" || directive === "pause";
}

function output(worker: Worker, body: Reply): Reply {
  const job_id = worker.run.attempt.job.id;
  switch (body.outcome) {
    case "succeeded":
      return { status: "completed", job_id, progress: 100, manifest: body.manifest };
    case "failed":
      return { status: "failed", job_id, error: body.error_message, ...body };
    default:
      return { status: body.outcome, job_id, detail: "" };
  }
}

/** The handler returns, or (null) its process dies. */
function exit(env: Environment, worker: Worker, result: Reply | null): void {
  worker.alive = false;
  worker.pending = null;
  if (result === null) {
    env.crashes.workers++;
    // RunPod only notices that it lost the worker, or nothing for a long time.
    if (mix(worker.key, 5) % 3 === 0 && !env.faultsDisabled) return;
    return env.runpod.endRun(worker.run, "FAILED", null, "job timed out after 1 retries", worker);
  }
  if (result.status === "cancelled") return env.runpod.endRun(worker.run, "CANCELLED", null, null, worker);
  const failed = result.status === "failed";
  env.runpod.endRun(
    worker.run,
    failed ? "FAILED" : "COMPLETED",
    result,
    failed ? String(result.error) : null,
    worker,
  );
}

async function sendWithFaults(
  env: Environment,
  worker: Worker,
  message: Message,
  random: Random,
): Promise<void> {
  const fate = env.faultsDisabled ? "now" : random.weighted({ now: 72, later: 10, lost: 6, twice: 12 });
  if (fate === "lost") return env.note(`  ${message.name} of ${worker.id} is lost`);
  if (fate === "later") {
    env.messages.push(message);
    return env.note(`  ${message.name} of ${worker.id} is delayed`);
  }
  if (fate === "twice") env.messages.push({ ...message, key: mix(message.key, env.seed) });
  // A verify has the most effects.
  const plan = env.faultsDisabled
    ? noFaults
    : message.name === "verify"
    ? randomFaultPlan(random, 7, 30)
    : randomFaultPlan(random);
  await receive(env, message, await deliver(env, message, plan));
}

/** Passes the reply to the worker if it still waits for it. */
export async function receive(env: Environment, message: Message, reply: Reply | null): Promise<void> {
  const { worker } = message;
  if (reply === null || worker === null || !worker.alive || worker.pending?.message.id !== message.id) return;
  const { then } = worker.pending;
  worker.pending = null;
  then(reply);
  const [action] = worker.queue;
  const targets = uploads.get(worker);
  if (action?.do === "upload" && action.files.length === 0 && targets !== undefined) {
    worker.queue.shift();
    uploads.delete(worker);
    for (const [i, { bucket, object, token }] of targets.entries()) {
      const text = action.texts[i] ?? "";
      const sent = action.damage && i === 0 ? text.slice(1) : text;
      await env.storagePut(`/storage/v1/object/upload/sign/${bucket}/${object}?token=${token}`, sent);
    }
  }
}
