/** Verifies of one file that are under way at once, stopped between any two effects (tests/simulation/faults.ts). */
import { assertEquals } from "#assert";
import { create } from "../simulation/clients.ts";
import { smooth } from "../simulation/faults.ts";
import { callback, deliver } from "../simulation/messages.ts";
import type { Worker } from "../simulation/model.ts";
import { Random } from "../simulation/random.ts";
import { startWorker } from "../simulation/workers.ts";
import { World } from "../simulation/environment.ts";
import { manifest, TestWorker } from "../support/fake_worker.ts";

const world = await World.start();
Deno.test.afterAll(() => world.close());
world.honest = true;
const bytes = (text: string) => new TextEncoder().encode(text);
const path = "adapter_model.safetensors";

function claim(of: Worker) {
  const message = callback(world, of.run.attempt, of, "claim", {
    worker_id: of.id,
    runpod_job_id: of.run.id,
  });
  return deliver(world, message, smooth);
}
/** A worker that holds the attempt of a new job. */
async function holder(seed: number): Promise<Worker> {
  world.seed = seed;
  await create(world, new Random(seed), smooth);
  await world.tick(smooth);
  const run = world.runpod.runs.at(-1);
  if (run === undefined) throw new Error("no run");
  const worker = startWorker(world, run, new Random(seed));
  worker.fence = Number((await claim(worker))?.fence);
  return worker;
}
const say = (worker: Worker, name: string, body: Record<string, unknown>, at = 0) => {
  const message = callback(world, worker.run.attempt, worker, name, {
    worker_id: worker.id,
    fence: worker.fence,
    ...body,
  });
  return deliver(world, message, at === 0 ? smooth : { fault: "park", at });
};
async function upload(worker: Worker, text: string) {
  const { targets } = await say(worker, "uploads", { paths: [path] }) ?? {};
  const [target] = targets as { object: string; token: string }[];
  await world.storagePut(
    `/storage/v1/object/upload/sign/tunebase-adapters/${target?.object}?token=${target?.token}`,
    text,
  );
  return TestWorker.file(path, bytes(text));
}

for (let at = 2; at <= 7; at++) {
  Deno.test(`a verify that is held up before its effect ${at} takes nothing away from the one that overtakes it`, async () => {
    const worker = await holder(at);
    const file = await upload(worker, `weights ${at}`);
    await say(worker, "verify", { file }, at);
    assertEquals((await say(worker, "verify", { file }))?.verified, true);
    assertEquals(
      (await say(worker, "finish", { outcome: "succeeded", manifest: manifest([file]) }))?.accepted,
      true,
    );
    for (const { flight } of world.parked.splice(0)) await flight.goOn(smooth);
    await world.checkAdapters(true);
    assertEquals(world.problems, []);
  });

  Deno.test(`a verify of a worker that lost its lease, held up before its effect ${at}, takes nothing away from the next`, async () => {
    const first = await holder(100 + at);
    const lost = await upload(first, `the first's weights ${at}`);
    await say(first, "verify", { file: lost }, at);
    await world.jump(61);
    const second = startWorker(world, first.run, new Random(200 + at));
    second.fence = Number((await claim(second))?.fence);
    assertEquals(second.fence, 2);
    const file = await upload(second, `the second's weights ${at}`);
    assertEquals((await say(second, "verify", { file }))?.verified, true);
    for (const { flight } of world.parked.splice(0)) await flight.goOn(smooth);
    assertEquals(
      (await say(second, "finish", { outcome: "succeeded", manifest: manifest([file]) }))?.accepted,
      true,
    );
    await world.checkAdapters(true);
    assertEquals(world.problems, []);
  });
}

Deno.test("a file that is damaged by a later upload is verified no more, and no finish counts on it", async () => {
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
