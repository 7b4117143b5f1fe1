/** Claimed attempts and their progress reports, the same for both sides of a bench. */
import type * as z from "zod";
import { ReportRequest } from "../supabase/functions/_shared/protocol.ts";
import { callbackSecret } from "../supabase/functions/_shared/secrets.ts";
import { FakeWorker } from "../tests/support/fake_worker.ts";
import { type BenchStack, createJob, until } from "./harness.ts";

export interface Held {
  id: string;
  fence: number;
  workerId: string;
  /** The key that signs its callbacks. */
  key: Uint8Array;
}

/** Creates jobs through the API, dispatches them, and claims each as a worker would. */
export async function holdAttempts(bench: BenchStack, count: number): Promise<Held[]> {
  const { stack, runpod } = bench;
  const before = runpod.runs.length;
  for (let made = 0; made < count; made++) await createJob(bench);
  await stack.cron.tick();
  await until("the dispatch of every job", 60, () => runpod.runs.length >= before + count);
  return await Promise.all(
    runpod.runs.slice(before).map(async ({ body }) => {
      const { input } = body as { input: { callback_url: string } };
      const id = input.callback_url.split("/").at(-1) ?? "";
      const worker = new FakeWorker(stack, id);
      const claim = await worker.claim();
      if (claim.claimed !== true) throw new Error(`not claimed: ${JSON.stringify(claim)}`);
      const secret = callbackSecret(stack.keys.masterKey, id).replace("whsec_", "");
      return {
        id,
        fence: worker.fence,
        workerId: worker.id,
        key: Uint8Array.from(atob(secret), (c) => c.charCodeAt(0)),
      };
    }),
  );
}

/** A report as the trainer sends it at a logged step: its progress and one metric. `n` is sequence and step. */
export function report({ workerId, fence }: Held, n: number): z.input<typeof ReportRequest> {
  return {
    worker_id: workerId,
    fence,
    sequence: n,
    stage: "training",
    progress: 20,
    current_epoch: 0.5,
    total_epochs: 2,
    current_step: n,
    total_steps: 2_000_000_000,
    trained_tokens: 500,
    seconds_left: 30,
    metrics: [{
      step: n,
      epoch: 0.5,
      training_loss: 1.2345,
      validation_loss: null,
      learning_rate: 0.0001,
      gradient_norm: 0.5,
      tokens_per_second: 1234.5,
      gpu_utilization: 97,
      gpu_memory_gb: 61.5,
    }],
    events: [],
    checkpoints: [],
  };
}

/** The same report as the callback function passes it to SQL, after validation. */
export const checkedReport = (held: Held, n: number): string =>
  JSON.stringify(ReportRequest.parse(report(held, n)));
