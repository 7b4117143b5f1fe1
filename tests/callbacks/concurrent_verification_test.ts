/** Concurrent verify calls for one file, interrupted between any two effects (tests/simulation/faults.ts). */
import { assertEquals } from "#assert";
import { createJob } from "../simulation/clients.ts";
import { noFaults } from "../simulation/faults.ts";
import { callback, deliver } from "../simulation/messages.ts";
import type { Worker } from "../simulation/model.ts";
import { Random } from "../simulation/random.ts";
import { startWorker } from "../simulation/workers.ts";
import { Environment } from "../simulation/environment.ts";
import { FakeWorker, manifest } from "../support/fake_worker.ts";

const env = await Environment.start();
Deno.test.afterAll(() => env.close());
env.faultsDisabled = true;
const bytes = (text: string) => new TextEncoder().encode(text);
const path = "adapter_model.safetensors";

function claim(of: Worker) {
  const message = callback(env, of.run.attempt, of, "claim", {
    worker_id: of.id,
    runpod_job_id: of.run.id,
  });
  return deliver(env, message, noFaults);
}
/** A worker that holds the attempt of a new job. */
async function holder(seed: number): Promise<Worker> {
  env.seed = seed;
  await createJob(env, new Random(seed), noFaults);
  await env.tick(noFaults);
  const run = env.runpod.runs.at(-1);
  if (run === undefined) throw new Error("no run");
  const worker = startWorker(env, run, new Random(seed));
  worker.fence = Number((await claim(worker))?.fence);
  return worker;
}
const say = (worker: Worker, name: string, body: Record<string, unknown>, at = 0) => {
  const message = callback(env, worker.run.attempt, worker, name, {
    worker_id: worker.id,
    fence: worker.fence,
    ...body,
  });
  return deliver(env, message, at === 0 ? noFaults : { fault: "park", at });
};
async function upload(worker: Worker, text: string) {
  const { targets } = await say(worker, "uploads", { paths: [path] }) ?? {};
  const [target] = targets as { object: string; token: string }[];
  await env.storagePut(
    `/storage/v1/object/upload/sign/tunebase-adapters/${target?.object}?token=${target?.token}`,
    text,
  );
  return FakeWorker.file(path, bytes(text));
}

for (let at = 2; at <= 7; at++) {
  Deno.test(`a verify delayed before effect ${at} does not undo the one that overtakes it`, async () => {
    const worker = await holder(at);
    const file = await upload(worker, `weights ${at}`);
    await say(worker, "verify", { file }, at);
    assertEquals((await say(worker, "verify", { file }))?.verified, true);
    assertEquals(
      (await say(worker, "finish", { outcome: "succeeded", manifest: manifest([file]) }))?.accepted,
      true,
    );
    for (const { request } of env.parked.splice(0)) await request.resume(noFaults);
    await env.checkAdapters(true);
    assertEquals(env.problems, []);
  });

  Deno.test(`a delayed verify (effect ${at}) of a worker without a lease does not affect the next worker`, async () => {
    const first = await holder(100 + at);
    const lost = await upload(first, `the first's weights ${at}`);
    await say(first, "verify", { file: lost }, at);
    await env.advanceTime(61);
    const second = startWorker(env, first.run, new Random(200 + at));
    second.fence = Number((await claim(second))?.fence);
    assertEquals(second.fence, 2);
    const file = await upload(second, `the second's weights ${at}`);
    assertEquals((await say(second, "verify", { file }))?.verified, true);
    for (const { request } of env.parked.splice(0)) await request.resume(noFaults);
    assertEquals(
      (await say(second, "finish", { outcome: "succeeded", manifest: manifest([file]) }))?.accepted,
      true,
    );
    await env.checkAdapters(true);
    assertEquals(env.problems, []);
  });
}

// @proves succeeded-is-stored
Deno.test("a later upload that damages a verified file invalidates it for finish", async () => {
  const worker = await holder(300);
  const file = await upload(worker, "weights");
  assertEquals((await say(worker, "verify", { file }))?.verified, true);
  const other = await upload(worker, "other weights");
  assertEquals((await say(worker, "verify", { file: other }))?.verified, true);
  assertEquals((await say(worker, "verify", { file }))?.verified, false);
  assertEquals(
    (await say(worker, "finish", { outcome: "succeeded", manifest: manifest([file]) }))?.accepted,
    false,
  );
});
