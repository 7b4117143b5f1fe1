/** The smoke job: fine-tunes a model on ten rows through the deployed API, and calls it by name. Costs GPU time. */
import { setTimeout as delay } from "node:timers/promises";
import { type Schemas, unwrap } from "../client/mod.ts";
import { streamChat } from "../client/chat_stream.ts";
import { createSession, type Session } from "../cli/api/session.ts";
import { DeployError } from "./errors.ts";

const rows = 10;
const pollMs = 2000;
/** A first start downloads the image and the model. */
const patienceMs = 60 * 60_000;

export interface SmokeResult {
  job: string;
  model: string;
  trainSeconds: number;
  question: string;
  answer: string;
}

export interface SmokeOptions {
  baseUrl: string;
  apiKey: string;
  /** The base model. */
  model: string;
  log(line: string): void;
  /** Called before a job is created, with the estimated cost in dollars (null: unknown). Returns whether to continue. */
  agree(costUsd: number | null): Promise<boolean>;
}

/** Runs the smoke job. null: the cost was declined. Throws a DeployError with the job's own error if it fails. */
export async function smokeTest(
  { baseUrl, apiKey, model, log, agree }: SmokeOptions,
): Promise<SmokeResult | null> {
  const session = createSession({ baseUrl, apiKey, source: "the deployment" });
  const form = new FormData();
  form.set("purpose", "fine-tune");
  form.set("file", new Blob([dataset()]), "smoke.jsonl");
  const file = unwrap(
    await session.api.POST("/files", {
      body: { purpose: "fine-tune", file: "" } as const,
      bodySerializer: () => form,
    }),
  );
  const request = {
    model,
    training_file: file.id,
    suffix: "smoke",
    method: {
      type: "supervised",
      supervised: { hyperparameters: { n_epochs: 1, batch_size: 4, validation_split: 0 } },
    },
  } as const;
  const estimate = unwrap(await session.api.POST("/fine_tuning/estimates", { body: request }));
  if (!await agree(estimate.cost.usd?.high ?? null)) return null;

  const created = performance.now();
  const { id } = unwrap(await session.api.POST("/fine_tuning/jobs", { body: request }));
  log(`smoke job ${id} …`);
  const job = await follow(session, id, log);
  const trainSeconds = (performance.now() - created) / 1000;
  if (job.status !== "succeeded" || !job.fine_tuned_model) {
    throw new DeployError(
      `The smoke job ${id} ${job.status}: ${job.error?.message ?? "no reason was given"}`,
      `To see its events: tunebase jobs events ${id}`,
    );
  }
  const question = "What is the code of item 7?";
  return {
    job: id,
    model: job.fine_tuned_model,
    trainSeconds,
    question,
    answer: await ask(session, job.fine_tuned_model, question),
  };
}

async function follow(
  session: Session,
  id: string,
  log: (line: string) => void,
): Promise<Schemas["FineTuningJob"]> {
  let status = "";
  for (const until = Date.now() + patienceMs; Date.now() < until; await delay(pollMs)) {
    const job = unwrap(await session.api.GET("/fine_tuning/jobs/{id}", { params: { path: { id } } }));
    if (job.status !== status) log(`smoke job: ${job.status}`);
    status = job.status;
    if (["succeeded", "failed", "cancelled"].includes(status)) return job;
  }
  throw new DeployError(
    `The smoke job ${id} has not ended after an hour.`,
    `To see its events: tunebase jobs events ${id}`,
  );
}

async function ask(session: Session, model: string, content: string): Promise<string> {
  const { signal } = new AbortController();
  const post = (body: string) =>
    session.fetch("/chat/completions", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body,
      signal,
    });
  const messages = [{ role: "user" as const, content }];
  for await (
    const event of streamChat(post, { model, messages, max_completion_tokens: 24, temperature: 0 }, signal)
  ) {
    if (event.type === "finished") return event.answer.content;
  }
  return "";
}

/** Questions whose answers no model knows in advance. */
function dataset(): string {
  return Array.from({ length: rows }, (_, item) =>
    JSON.stringify({
      messages: [
        { role: "user", content: `What is the code of item ${item}?` },
        { role: "assistant", content: `The code of item ${item} is TB-${1000 + 37 * item}.` },
      ],
    })).join("\n");
}
