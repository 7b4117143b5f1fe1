/** What a function does, each with a client that goes on as the real one would. */
import { assert, assertEquals } from "#assert";
import { type Answer, TestWorker } from "../support/fake_worker.ts";
import { fileApi, fileScheduler } from "./file_scenarios.ts";
import type { Lane } from "./harness.ts";
import { done, type Run, type Scenario } from "./scenario.ts";
import type { FunctionName } from "./serve.ts";
import { subscriberApi, subscriberScheduler } from "./subscriber_scenarios.ts";
import { tenancyApi, tenancyScheduler } from "./tenancy_scenarios.ts";

const model = "SmolLM2-135M-Instruct";
const text = (value: string) => new TextEncoder().encode(value);
const reply = (status: number, body = "") => () => new Response(body, { status });
/** How many objects of a file lie in Storage. */
const left = (lane: Lane, file: { id: string }) =>
  lane.count(
    `storage.objects where bucket_id = 'tunebase-datasets' and replace(name, '-', '') like '%${
      file.id.slice(5)
    }%'`,
  );

const api: Record<string, Run> = {
  "a file is created": async (lane, doom) => {
    await doom();
    const job = await lane.job();
    return await lane.settle(job);
  },
  "a job is created": async (lane, doom) => {
    const file = await lane.file();
    const before = await lane.count("tunebase.jobs");
    await doom();
    const job = await lane.openai.fineTuning.jobs.create({ model, training_file: file.id });
    assertEquals(await lane.count("tunebase.jobs"), before + 1, "one job");
    return await lane.settle(job);
  },
  "a job is created with an idempotency key": async (lane, doom) => {
    const file = await lane.file();
    const before = await lane.count("tunebase.jobs");
    const idempotencyKey = crypto.randomUUID();
    await doom();
    const job = await lane.openai.fineTuning.jobs.create({ model, training_file: file.id }, {
      headers: { "idempotency-key": idempotencyKey },
    });
    assertEquals(await lane.count("tunebase.jobs"), before + 1, "one job");
    return await lane.settle(job);
  },
  "a job that runs is cancelled": async (lane, doom) => {
    const { job, worker } = await lane.running();
    await doom();
    await done(lane.openai.fineTuning.jobs.cancel(job.id), 409);
    assertEquals((await worker.report()).order, "cancel");
    return [(await worker.cancelled()).accepted, await lane.settle(job)];
  },
  "a job that waits is paused": async (lane, doom) => {
    const { job } = await lane.sent();
    await doom();
    await lane.openai.fineTuning.jobs.pause(job.id);
    await lane.tick();
    const paused = (await lane.openai.fineTuning.jobs.retrieve(job.id)).status;
    await lane.openai.fineTuning.jobs.resume(job.id);
    return [paused, await lane.settle(job)];
  },
  "a job that runs is paused": async (lane, doom) => {
    const { job, worker } = await lane.running();
    await doom();
    await lane.openai.fineTuning.jobs.pause(job.id);
    assertEquals((await worker.checkpoint(3)).order, "pause");
    await worker.paused();
    const paused = (await lane.openai.fineTuning.jobs.retrieve(job.id)).status;
    await lane.openai.fineTuning.jobs.resume(job.id);
    return [paused, await lane.settle(job)];
  },
  "a job is resumed": async (lane, doom) => {
    const job = await lane.job();
    await lane.openai.fineTuning.jobs.pause(job.id);
    await doom();
    await done(lane.openai.fineTuning.jobs.resume(job.id), 409);
    return await lane.settle(job);
  },
  "a job that waits for it is started": async (lane, doom) => {
    const file = await lane.file();
    const body = { model, training_file: file.id, auto_start: false };
    const job = await lane.openai.fineTuning.jobs.create(body);
    await doom();
    await done(lane.openai.post(`/fine_tuning/jobs/${job.id}/start`), 409);
    return await lane.settle(job);
  },
  "a fine-tune is deleted": async (lane, doom) => {
    const job = await lane.job();
    await lane.settle(job);
    const { fine_tuned_model } = await lane.openai.fineTuning.jobs.retrieve(job.id);
    await doom();
    await done(lane.openai.models.delete(fine_tuned_model ?? ""), 404);
    await lane.tick();
    return await lane.count(
      `storage.objects where bucket_id = 'tunebase-adapters' and replace(name, '-', '') like '%${
        job.id.slice(6)
      }%safetensors'`,
    );
  },
  "a file is deleted": async (lane, doom) => {
    const file = await lane.file();
    await doom();
    await done(lane.openai.files.delete(file.id), 404);
    await lane.tick();
    return await left(lane, file);
  },
};

/** A job whose /run is answered thus the first time. */
const dispatched = (answer: (() => Response) | null): Run => async (lane, doom) => {
  const job = await lane.job();
  if (answer !== null) lane.tunebase.runpod.run = answer;
  await doom();
  await lane.tick();
  lane.runpodWorks();
  return await lane.settle(job);
};

/** A run that has gone quiet, and what RunPod and Storage know of it. */
const quiet = (
  prepare: (lane: Lane, found: Awaited<ReturnType<Lane["running"]>>) => Promise<void> | void,
): Run =>
async (lane, doom) => {
  const found = await lane.running();
  await prepare(lane, found);
  await lane.elapse(61);
  await doom();
  await lane.tick();
  return await lane.settle(found.job);
};

const scheduler: Record<string, Run> = {
  "a job is sent and RunPod takes it": dispatched(null),
  "a job is sent and RunPod has no room (429)": dispatched(reply(429)),
  "a job is sent and RunPod refuses it (400)": async (lane, doom) => {
    const job = await lane.job();
    lane.tunebase.runpod.run = reply(400);
    await doom();
    await lane.tick();
    try {
      return await lane.settle(job);
    } finally {
      lane.runpodWorks();
    }
  },
  "a job is sent and RunPod's answer is unclear (502)": dispatched(reply(502)),
  "a run is over, its finish was lost, and its output names the files": quiet(
    async (lane, { run, worker }) => {
      const manifest = await lane.uploaded(worker);
      lane.queue.post(run.worker ?? "", run.id, { output: { status: "completed", manifest } });
    },
  ),
  "a run is over, its finish and its output were lost, and Storage holds the manifest": quiet(
    async (lane, { run, worker }) => {
      const manifest = await lane.uploaded(worker);
      await worker.upload("manifest.json", text(JSON.stringify(manifest)));
      lane.queue.post(run.worker ?? "", run.id, { output: null });
    },
  ),
  "a run's worker was lost": quiet((lane, { run }) => {
    run.retries = 1;
    lane.queue.workerLost(run.worker ?? "");
  }),
  "a run is gone at RunPod": quiet((lane, { run }) => {
    run.expiresAt = 0;
    lane.queue.elapse();
    return lane.elapse(61);
  }),
  "a run failed and its finish was lost": quiet((lane, { run }) => {
    const output = { status: "failed", error_code: "invalid_dataset", error_message: "Bad.", hint: "" };
    lane.queue.post(run.worker ?? "", run.id, { error: "Bad.", output });
  }),
  "a run waits, and RunPod says why": async (lane, doom) => {
    const { job } = await lane.sent();
    await lane.elapse(61);
    await doom();
    await lane.tick();
    return await lane.settle(job);
  },
  "a run waits past its deadline": async (lane, doom) => {
    const { job, run } = await lane.sent();
    await lane.elapse(121);
    await doom();
    await lane.tick();
    for (let rounds = 0; rounds < 3; rounds++) {
      await lane.elapse(61);
      await lane.tick();
    }
    return [await lane.status(job), lane.wasCancelled(run)];
  },
  "a run that nobody hears of runs on": async (lane, doom) => {
    const { job, run } = await lane.running();
    const { maxMissedHeartbeats } = lane.tunebase.platform.settings;
    await lane.tunebase.sql`update tunebase.attempts set missed_heartbeats = ${maxMissedHeartbeats}`;
    await lane.elapse(61);
    await doom();
    await lane.tick();
    await lane.elapse(61);
    await lane.tick();
    return [lane.wasCancelled(run), await lane.settle(job)];
  },
  "a run that nobody wants is cancelled": async (lane, doom) => {
    const { job, run } = await lane.sent();
    await lane.openai.fineTuning.jobs.cancel(job.id);
    await doom();
    await lane.tick();
    // A worker may be there before RunPod is told; it is refused.
    const ended = await lane.settle(job);
    assert(run.status !== "IN_QUEUE" && run.status !== "IN_PROGRESS", run.status);
    return [ended, (await lane.attempt(job)).outcome];
  },
  "a job passes its spend cap": async (lane, doom) => {
    const { job, run, worker } = await lane.running();
    await lane.tunebase.sql`update tunebase.jobs set spend_cap_usd = 0.01 where status = 'running'`;
    await lane.tunebase.sql`
      update tunebase.attempts set gpu_config = gpu_config || '{"cost_per_gpu_hour": 3.6}', started_at = now() - interval '1 minute'
      where id = ${worker.attemptId}`;
    await doom();
    await lane.tick();
    await lane.elapse(61);
    await lane.tick();
    return [await lane.settle(job), lane.wasCancelled(run)];
  },
  "what nobody needs is removed": async (lane, doom) => {
    const file = await lane.file();
    await lane.openai.files.delete(file.id);
    await doom();
    await lane.tick();
    await lane.elapse(601);
    await lane.tick();
    return [await left(lane, file), await lane.count("tunebase_internal.orphaned_objects")];
  },
};

const callback: Record<string, Run> = {
  "a worker claims": async (lane, doom) => {
    const { job, run, worker } = await lane.taken();
    await doom();
    const claim = await worker.claim();
    assertEquals([claim.claimed, claim.fence], [true, 1]);
    await lane.work(run, worker);
    return await lane.settle(job);
  },
  "a worker claims a job that has a checkpoint": async (lane, doom) => {
    const first = await lane.running();
    await first.worker.checkpoint(3);
    await first.worker.preempted();
    await lane.elapse(61);
    await lane.tick();
    const { job, run, worker } = lane.take(first.job);
    await doom();
    const { resume } = await worker.claim();
    assertEquals(Reflect.get(Object(resume), "step"), 3);
    await lane.work(run, worker);
    return await lane.settle(job);
  },
  "a worker reports, with a checkpoint": async (lane, doom) => {
    const { job, run, worker } = await lane.running();
    const file = TestWorker.file("checkpoints/3/state.json", text("state"));
    await worker.upload(file.path, text("state"));
    await worker.verify(file);
    await doom();
    const { order } = await worker.report({
      metrics: [TestWorker.metric(1), TestWorker.metric(2)],
      events: [{ level: "info", message: "said once" }],
      checkpoints: [{ step: 3, epoch: 0.5, training_loss: 1, validation_loss: null, files: [file] }],
    });
    await lane.work(run, worker);
    const { job_id } = await lane.attempt(job);
    const counts = await lane.tunebase.sql`
      select (select count(*)::int from tunebase.metrics where job_id = ${job_id}) as metrics,
        (select count(*)::int from tunebase.events where job_id = ${job_id} and message = 'said once') as lines,
        (select count(*)::int from tunebase.checkpoints where job_id = ${job_id}) as checkpoints`;
    return [order, { ...counts[0] }, await lane.settle(job)];
  },
  "a worker asks where to upload": async (lane, doom) => {
    const { job, run, worker } = await lane.running();
    await doom();
    await worker.upload("adapter_config.json", text("{}"));
    await lane.work(run, worker);
    return await lane.settle(job);
  },
  "a file is verified": async (lane, doom) => {
    const { job, run, worker } = await lane.running();
    const file = TestWorker.file("adapter_config.json", text("{}"));
    await worker.upload(file.path, text("{}"));
    await doom();
    const { verified } = await worker.verify(file);
    await lane.work(run, worker);
    return [verified, await lane.settle(job)];
  },
  "a file that was verified is uploaded and verified again": async (lane, doom) => {
    const { job, run, worker } = await lane.running();
    const file = TestWorker.file("adapter_config.json", text("{}"));
    await worker.upload(file.path, text("{}"));
    await worker.verify(file);
    await worker.upload(file.path, text("{}"));
    await doom();
    const { verified } = await worker.verify(file);
    await lane.work(run, worker);
    return [verified, await lane.settle(job)];
  },
  "a damaged file is not verified": async (lane, doom) => {
    const { job, run, worker } = await lane.running();
    const file = TestWorker.file("adapter_config.json", text("{}"));
    await worker.upload(file.path, text("damaged"));
    await doom();
    const { verified } = await worker.verify(file);
    await worker.upload(file.path, text("{}"));
    const again = await worker.verify(file);
    await lane.work(run, worker);
    return [verified, again.verified, await lane.settle(job)];
  },
  "a worker finishes: succeeded": async (lane, doom) => {
    const { job, worker } = await lane.running();
    const manifest = await lane.uploaded(worker);
    const [file = {}] = manifest.files as Answer[];
    await worker.verify(file);
    await doom();
    assertEquals((await worker.succeed([file])).accepted, true);
    return await lane.settle(job);
  },
  "RunPod says by its webhook that a run is over": async (lane, doom) => {
    const { job, run, worker } = await lane.running();
    const manifest = await lane.uploaded(worker);
    lane.queue.post(run.worker ?? "", run.id, { output: { status: "completed", manifest } });
    await doom();
    await lane.webhook(run);
    return await lane.settle(job);
  },
};
const finishes: Record<string, (worker: TestWorker) => Promise<unknown>> = {
  "failed, by the user's fault": (worker) => worker.fail("invalid_dataset"),
  "failed, by infrastructure's": (worker) => worker.fail("disk_full"),
  preempted: (worker) => worker.preempted(),
};
for (const [outcome, finish] of Object.entries(finishes)) {
  callback[`a worker finishes: ${outcome}`] = async (lane, doom) => {
    const { job, worker } = await lane.running();
    await doom();
    await finish(worker);
    return [await lane.status(job), await lane.settle(job)];
  };
}
const ordered: Record<string, [move: "cancel" | "pause", finish: (worker: TestWorker) => Promise<unknown>]> =
  {
    cancelled: ["cancel", (worker) => worker.cancelled()],
    paused: ["pause", (worker) => worker.paused()],
  };
for (const [outcome, [move, finish]] of Object.entries(ordered)) {
  callback[`a worker finishes: ${outcome}`] = async (lane, doom) => {
    const { job, worker } = await lane.running();
    await lane.openai.fineTuning.jobs[move](job.id);
    await doom();
    await finish(worker);
    const then = await lane.status(job);
    if (move === "pause") await lane.openai.fineTuning.jobs.resume(job.id);
    return [then, await lane.settle(job)];
  };
}

const of = (name: FunctionName, runs: Record<string, Run>): [string, Scenario][] =>
  Object.entries(runs).map(([what, run]) => [what, { of: name, run }]);

/** Every scenario by what happens in it. */
export const scenarios: Map<string, Scenario> = new Map([
  ...of("tunebase", { ...api, ...subscriberApi, ...fileApi, ...tenancyApi }),
  ...of("tunebase-scheduler", {
    ...scheduler,
    ...subscriberScheduler,
    ...fileScheduler,
    ...tenancyScheduler,
  }),
  ...of("tunebase-callback", callback),
]);
