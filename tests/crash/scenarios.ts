/** Scenarios of the API, the callbacks and the scheduler; each client reacts to a crash as the real one does. */
import { assert, assertEquals } from "#assert";
import { type Answer, FakeWorker } from "../support/fake_worker.ts";
import { fileApi, fileScheduler } from "./file_scenarios.ts";
import type { CrashHarness } from "./harness.ts";
import { inferenceApi, inferenceScheduler } from "./inference_scenarios.ts";
import { done, type Run, type Scenario } from "./scenario.ts";
import type { FunctionName } from "./serve.ts";
import { subscriberApi, subscriberScheduler } from "./subscriber_scenarios.ts";
import { tenancyApi, tenancyScheduler } from "./tenancy_scenarios.ts";

const model = "SmolLM2-135M-Instruct";
const text = (value: string) => new TextEncoder().encode(value);
const reply = (status: number, body = "") => () => new Response(body, { status });
/** The number of objects in Storage for a file. */
const left = (harness: CrashHarness, file: { id: string }) =>
  harness.count(
    `storage.objects where bucket_id = 'tunebase-datasets' and replace(name, '-', '') like '%${
      file.id.slice(5)
    }%'`,
  );

const api: Record<string, Run> = {
  "a file is created": async (harness, arm) => {
    await arm();
    const job = await harness.createJob();
    return await harness.runToEnd(job);
  },
  "a job is created": async (harness, arm) => {
    const file = await harness.createFile();
    const before = await harness.count("tunebase.jobs");
    await arm();
    const job = await harness.openai.fineTuning.jobs.create({ model, training_file: file.id });
    assertEquals(await harness.count("tunebase.jobs"), before + 1, "one job");
    return await harness.runToEnd(job);
  },
  "a job is created with an idempotency key": async (harness, arm) => {
    const file = await harness.createFile();
    const before = await harness.count("tunebase.jobs");
    const idempotencyKey = crypto.randomUUID();
    await arm();
    const job = await harness.openai.fineTuning.jobs.create({ model, training_file: file.id }, {
      headers: { "idempotency-key": idempotencyKey },
    });
    assertEquals(await harness.count("tunebase.jobs"), before + 1, "one job");
    return await harness.runToEnd(job);
  },
  "a running job is cancelled": async (harness, arm) => {
    const { job, worker } = await harness.runningJob();
    await arm();
    await done(harness.openai.fineTuning.jobs.cancel(job.id), 409);
    assertEquals((await worker.report()).directive, "cancel");
    return [(await worker.cancelled()).accepted, await harness.runToEnd(job)];
  },
  "a queued job is paused": async (harness, arm) => {
    const { job } = await harness.dispatchedJob();
    await arm();
    await harness.openai.fineTuning.jobs.pause(job.id);
    await harness.tick();
    const paused = (await harness.openai.fineTuning.jobs.retrieve(job.id)).status;
    await harness.openai.fineTuning.jobs.resume(job.id);
    return [paused, await harness.runToEnd(job)];
  },
  "a running job is paused": async (harness, arm) => {
    const { job, worker } = await harness.runningJob();
    await arm();
    await harness.openai.fineTuning.jobs.pause(job.id);
    assertEquals((await worker.checkpoint(3)).directive, "pause");
    await worker.paused();
    const paused = (await harness.openai.fineTuning.jobs.retrieve(job.id)).status;
    await harness.openai.fineTuning.jobs.resume(job.id);
    return [paused, await harness.runToEnd(job)];
  },
  "a job is resumed": async (harness, arm) => {
    const job = await harness.createJob();
    await harness.openai.fineTuning.jobs.pause(job.id);
    await arm();
    await done(harness.openai.fineTuning.jobs.resume(job.id), 409);
    return await harness.runToEnd(job);
  },
  "a job created without auto-start is started": async (harness, arm) => {
    const file = await harness.createFile();
    const body = { model, training_file: file.id, auto_start: false };
    const job = await harness.openai.fineTuning.jobs.create(body);
    await arm();
    await done(harness.openai.post(`/fine_tuning/jobs/${job.id}/start`), 409);
    return await harness.runToEnd(job);
  },
  "a fine-tune is deleted": async (harness, arm) => {
    const job = await harness.createJob();
    await harness.runToEnd(job);
    const { fine_tuned_model } = await harness.openai.fineTuning.jobs.retrieve(job.id);
    await arm();
    await done(harness.openai.models.delete(fine_tuned_model ?? ""), 404);
    await harness.tick();
    return await harness.count(
      `storage.objects where bucket_id = 'tunebase-adapters' and replace(name, '-', '') like '%${
        job.id.slice(6)
      }%safetensors'`,
    );
  },
  "a file is deleted": async (harness, arm) => {
    const file = await harness.createFile();
    await arm();
    await done(harness.openai.files.delete(file.id), 404);
    await harness.tick();
    return await left(harness, file);
  },
};

/** A job whose first /run gets this answer. */
const dispatched = (answer: (() => Response) | null): Run => async (harness, arm) => {
  const job = await harness.createJob();
  if (answer !== null) harness.tunebase.runpod.run = answer;
  await arm();
  await harness.tick();
  harness.useReliableRunpod();
  return await harness.runToEnd(job);
};

/** A silent run, and what RunPod and Storage report about it. */
const quiet = (
  prepare: (
    harness: CrashHarness,
    found: Awaited<ReturnType<CrashHarness["runningJob"]>>,
  ) => Promise<void> | void,
): Run =>
async (harness, arm) => {
  const found = await harness.runningJob();
  await prepare(harness, found);
  await harness.advanceTime(61);
  await arm();
  await harness.tick();
  return await harness.runToEnd(found.job);
};

const scheduler: Record<string, Run> = {
  "a job is dispatched and RunPod accepts it": dispatched(null),
  "a job is dispatched and RunPod is rate limiting (429)": dispatched(reply(429)),
  "a job is dispatched and RunPod rejects it (400)": async (harness, arm) => {
    const job = await harness.createJob();
    harness.tunebase.runpod.run = reply(400);
    await arm();
    await harness.tick();
    try {
      return await harness.runToEnd(job);
    } finally {
      harness.useReliableRunpod();
    }
  },
  "a job is dispatched and RunPod's response is ambiguous (502)": dispatched(reply(502)),
  "a run is over, its finish was lost, and its output lists the files": quiet(
    async (harness, { run, worker }) => {
      const manifest = await harness.uploadAdapter(worker);
      harness.queue.post(run.worker ?? "", run.id, { output: { status: "completed", manifest } });
    },
  ),
  "a run is over, its finish and its output were lost, and Storage holds the manifest": quiet(
    async (harness, { run, worker }) => {
      const manifest = await harness.uploadAdapter(worker);
      await worker.upload("manifest.json", text(JSON.stringify(manifest)));
      harness.queue.post(run.worker ?? "", run.id, { output: null });
    },
  ),
  "a run's worker was lost": quiet((harness, { run }) => {
    run.retries = 1;
    harness.queue.workerLost(run.worker ?? "");
  }),
  "a run is gone at RunPod": quiet((harness, { run }) => {
    run.expiresAt = 0;
    harness.queue.elapse();
    return harness.advanceTime(61);
  }),
  "a run failed and its finish was lost": quiet((harness, { run }) => {
    const output = { status: "failed", error_code: "invalid_dataset", error_message: "Bad.", hint: "" };
    harness.queue.post(run.worker ?? "", run.id, { error: "Bad.", output });
  }),
  "a queued run's reason is read from RunPod": async (harness, arm) => {
    const { job } = await harness.dispatchedJob();
    await harness.advanceTime(61);
    await arm();
    await harness.tick();
    return await harness.runToEnd(job);
  },
  "a run stays queued past its deadline": async (harness, arm) => {
    const { job, run } = await harness.dispatchedJob();
    await harness.advanceTime(121);
    await arm();
    await harness.tick();
    for (let rounds = 0; rounds < 3; rounds++) {
      await harness.advanceTime(61);
      await harness.tick();
    }
    return [await harness.statusOf(job), harness.wasCancelled(run)];
  },
  "a silent run keeps running at RunPod": async (harness, arm) => {
    const { job, run } = await harness.runningJob();
    const { maxMissedHeartbeats } = harness.tunebase.platform.settings;
    await harness.tunebase.sql`update tunebase.attempts set missed_heartbeats = ${maxMissedHeartbeats}`;
    await harness.advanceTime(61);
    await arm();
    await harness.tick();
    await harness.advanceTime(61);
    await harness.tick();
    return [harness.wasCancelled(run), await harness.runToEnd(job)];
  },
  "the run of a cancelled job is cancelled": async (harness, arm) => {
    const { job, run } = await harness.dispatchedJob();
    await harness.openai.fineTuning.jobs.cancel(job.id);
    await arm();
    await harness.tick();
    // A worker may start before RunPod gets the cancellation; its claim is rejected.
    const ended = await harness.runToEnd(job);
    assert(run.status !== "IN_QUEUE" && run.status !== "IN_PROGRESS", run.status);
    return [ended, (await harness.attemptOf(job)).outcome];
  },
  "a job exceeds its spend cap": async (harness, arm) => {
    const { job, run, worker } = await harness.runningJob();
    await harness.tunebase.sql`update tunebase.jobs set spend_cap_usd = 0.01 where status = 'running'`;
    await harness.tunebase.sql`
      update tunebase.attempts set gpu_config = gpu_config || '{"cost_per_gpu_hour": 3.6}', started_at = now() - interval '1 minute'
      where id = ${worker.attemptId}`;
    await arm();
    await harness.tick();
    await harness.advanceTime(61);
    await harness.tick();
    return [await harness.runToEnd(job), harness.wasCancelled(run)];
  },
  "orphaned objects are removed": async (harness, arm) => {
    const file = await harness.createFile();
    await harness.openai.files.delete(file.id);
    await arm();
    await harness.tick();
    await harness.advanceTime(601);
    await harness.tick();
    return [await left(harness, file), await harness.count("tunebase_internal.orphaned_objects")];
  },
};

const callback: Record<string, Run> = {
  "a worker claims": async (harness, arm) => {
    const { job, run, worker } = await harness.startedJob();
    await arm();
    const claim = await worker.claim();
    assertEquals([claim.claimed, claim.fence], [true, 1]);
    await harness.completeRun(run, worker);
    return await harness.runToEnd(job);
  },
  "a worker claims a job that has a checkpoint": async (harness, arm) => {
    const first = await harness.runningJob();
    await first.worker.checkpoint(3);
    await first.worker.preempted();
    await harness.advanceTime(61);
    await harness.tick();
    const { job, run, worker } = harness.startWorker(first.job);
    await arm();
    const { resume } = await worker.claim();
    assertEquals(Reflect.get(Object(resume), "step"), 3);
    await harness.completeRun(run, worker);
    return await harness.runToEnd(job);
  },
  "a worker reports, with a checkpoint": async (harness, arm) => {
    const { job, run, worker } = await harness.runningJob();
    const file = FakeWorker.file("checkpoints/3/state.json", text("state"));
    await worker.upload(file.path, text("state"));
    await worker.verify(file);
    await arm();
    const { directive } = await worker.report({
      metrics: [FakeWorker.metric(1), FakeWorker.metric(2)],
      events: [{ level: "info", message: "logged once" }],
      checkpoints: [{ step: 3, epoch: 0.5, training_loss: 1, validation_loss: null, files: [file] }],
    });
    await harness.completeRun(run, worker);
    const { job_id } = await harness.attemptOf(job);
    const counts = await harness.tunebase.sql`
      select (select count(*)::int from tunebase.metrics where job_id = ${job_id}) as metrics,
        (select count(*)::int from tunebase.events where job_id = ${job_id} and message = 'logged once') as lines,
        (select count(*)::int from tunebase.checkpoints where job_id = ${job_id}) as checkpoints`;
    return [directive, { ...counts[0] }, await harness.runToEnd(job)];
  },
  "a worker requests upload targets": async (harness, arm) => {
    const { job, run, worker } = await harness.runningJob();
    await arm();
    await worker.upload("adapter_config.json", text("{}"));
    await harness.completeRun(run, worker);
    return await harness.runToEnd(job);
  },
  "a file is verified": async (harness, arm) => {
    const { job, run, worker } = await harness.runningJob();
    const file = FakeWorker.file("adapter_config.json", text("{}"));
    await worker.upload(file.path, text("{}"));
    await arm();
    const { verified } = await worker.verify(file);
    await harness.completeRun(run, worker);
    return [verified, await harness.runToEnd(job)];
  },
  "a verified file is uploaded and verified again": async (harness, arm) => {
    const { job, run, worker } = await harness.runningJob();
    const file = FakeWorker.file("adapter_config.json", text("{}"));
    await worker.upload(file.path, text("{}"));
    await worker.verify(file);
    await worker.upload(file.path, text("{}"));
    await arm();
    const { verified } = await worker.verify(file);
    await harness.completeRun(run, worker);
    return [verified, await harness.runToEnd(job)];
  },
  "a damaged file is rejected": async (harness, arm) => {
    const { job, run, worker } = await harness.runningJob();
    const file = FakeWorker.file("adapter_config.json", text("{}"));
    await worker.upload(file.path, text("damaged"));
    await arm();
    const { verified } = await worker.verify(file);
    await worker.upload(file.path, text("{}"));
    const again = await worker.verify(file);
    await harness.completeRun(run, worker);
    return [verified, again.verified, await harness.runToEnd(job)];
  },
  "a worker finishes: succeeded": async (harness, arm) => {
    const { job, worker } = await harness.runningJob();
    const manifest = await harness.uploadAdapter(worker);
    const [file = {}] = manifest.files as Answer[];
    await worker.verify(file);
    await arm();
    assertEquals((await worker.succeed([file])).accepted, true);
    return await harness.runToEnd(job);
  },
  "RunPod's webhook reports the end of a run": async (harness, arm) => {
    const { job, run, worker } = await harness.runningJob();
    const manifest = await harness.uploadAdapter(worker);
    harness.queue.post(run.worker ?? "", run.id, { output: { status: "completed", manifest } });
    await arm();
    await harness.sendRunpodWebhook(run);
    return await harness.runToEnd(job);
  },
};
const finishes: Record<string, (worker: FakeWorker) => Promise<unknown>> = {
  "failed, a user error": (worker) => worker.fail("invalid_dataset"),
  "failed, an infrastructure error": (worker) => worker.fail("disk_full"),
  preempted: (worker) => worker.preempted(),
};
for (const [outcome, finish] of Object.entries(finishes)) {
  callback[`a worker finishes: ${outcome}`] = async (harness, arm) => {
    const { job, worker } = await harness.runningJob();
    await arm();
    await finish(worker);
    return [await harness.statusOf(job), await harness.runToEnd(job)];
  };
}
const ordered: Record<string, [move: "cancel" | "pause", finish: (worker: FakeWorker) => Promise<unknown>]> =
  {
    cancelled: ["cancel", (worker) => worker.cancelled()],
    paused: ["pause", (worker) => worker.paused()],
  };
for (const [outcome, [move, finish]] of Object.entries(ordered)) {
  callback[`a worker finishes: ${outcome}`] = async (harness, arm) => {
    const { job, worker } = await harness.runningJob();
    await harness.openai.fineTuning.jobs[move](job.id);
    await arm();
    await finish(worker);
    const then = await harness.statusOf(job);
    if (move === "pause") await harness.openai.fineTuning.jobs.resume(job.id);
    return [then, await harness.runToEnd(job)];
  };
}

const of = (name: FunctionName, runs: Record<string, Run>): [string, Scenario][] =>
  Object.entries(runs).map(([what, run]) => [what, { of: name, run }]);

/** Every scenario by name. */
export const scenarios: Map<string, Scenario> = new Map([
  ...of("tunebase", { ...api, ...subscriberApi, ...fileApi, ...tenancyApi, ...inferenceApi }),
  ...of("tunebase-scheduler", {
    ...scheduler,
    ...subscriberScheduler,
    ...fileScheduler,
    ...tenancyScheduler,
    ...inferenceScheduler,
  }),
  ...of("tunebase-callback", callback),
]);
