/**
 * Sends the rows of evaluations to their models and scores the answers. Each answer is claimed individually, so that any
 * number of ticks can share the work, and a crash loses only one answer, which another tick requests again.
 */
import * as z from "zod";
import { Grader } from "../../_shared/contracts/graders.ts";
import { rpc } from "../../_shared/database/rpc.ts";
import { toolCallText } from "../../_shared/datasets/tool_call_text.ts";
import { ApiError } from "../../_shared/errors.ts";
import { asApiError, askEngine } from "../../_shared/inference/engine.ts";
import { serve, StartedInference } from "../../_shared/inference/served_model.ts";
import { isShuttingDown } from "../../_shared/isolate.ts";
import type { Platform } from "../../_shared/platform.ts";
import { type CpuBudget, price } from "../cpu_budget.ts";
import { scoreAnswer } from "./score.ts";

/** Maximum concurrent requests of all evaluations. Engines batch them. */
const concurrency = 8;
/** The platform ends an isolate after 150 s; a tick starts no more work after 25 s. */
const answerMs = 100_000;
const leaseSeconds = 130;
const retrySeconds = 30;

const Claimed = z.object({
  evaluation_id: z.string(),
  line: z.int(),
  model_number: z.int(),
  lease: z.string(),
  prompt: z.object({ messages: z.array(z.unknown()), tools: z.array(z.unknown()).optional() }),
  expected: z.string(),
  is_json: z.boolean(),
  graders: z.array(Grader),
  sampling: z.object({ temperature: z.number(), max_completion_tokens: z.int(), seed: z.int() }),
  model: StartedInference,
});
type Claimed = z.infer<typeof Claimed>;
const Failed = z.object({
  evaluation_id: z.string(),
  failed: z.object({ code: z.string(), detail: z.record(z.string(), z.unknown()) }),
});

const Completion = z.object({
  choices: z.array(z.object({
    finish_reason: z.string().nullish(),
    message: z.object({
      content: z.string().nullish(),
      tool_calls: z.array(z.object({ function: z.object({ name: z.string(), arguments: z.string() }) }))
        .nullish(),
    }),
  })).min(1),
  usage: z.object({ prompt_tokens: z.int(), completion_tokens: z.int().nullish() }),
});

/** Requests due answers until none is left or the budget is used up. Returns how many were requested. */
export async function evaluate(platform: Platform, budget: CpuBudget): Promise<number> {
  let asked = 0;
  const claim = async () => {
    if (budget.room(price.answer) === 0 || isShuttingDown()) return null;
    budget.spend(price.answer);
    return await rpc(
      platform.db,
      "claim_evaluation_answer",
      { lease_seconds: leaseSeconds },
      z.union([Failed, Claimed]).nullable(),
    );
  };
  const work = async (first: Claimed | z.infer<typeof Failed> | null) => {
    for (let item = first; item !== null; item = await claim()) {
      asked += 1;
      if ("failed" in item) await endEvaluation(platform, item);
      else await answer(platform, item);
    }
  };
  const first = await claim();
  if (first === null) return 0;
  await Promise.all(
    Array.from({ length: concurrency }, async (_, i) => await work(i === 0 ? first : await claim())),
  );
  return asked;
}

/** Ends an evaluation whose requests cannot start. */
async function endEvaluation(
  platform: Platform,
  { evaluation_id, failed }: z.infer<typeof Failed>,
): Promise<void> {
  const error = ApiError.fromSql(failed.code, failed.detail);
  await rpc(platform.db, "end_evaluation", {
    id: evaluation_id,
    status: "failed",
    error: { code: failed.code, message: error?.message ?? failed.code },
  });
}

/** Sends one row to one model and records the result. */
async function answer(platform: Platform, item: Claimed): Promise<void> {
  const started = performance.now();
  const record = (request: Record<string, unknown>, result: Record<string, unknown>) =>
    rpc(platform.db, "record_evaluation_answer", {
      evaluation_id: item.evaluation_id,
      line: item.line,
      model_number: item.model_number,
      lease: item.lease,
      request_id: item.model.id,
      request: {
        first_token_ms: null,
        prompt_tokens: 0,
        completion_tokens: 0,
        seconds: Math.round(performance.now() - started) / 1000,
        ...request,
      },
      answer: result,
    });
  try {
    const served = await serve(platform, item.model);
    const response = await askEngine(
      { settings: platform.settings, started: item.model, served },
      "chat/completions",
      {
        ...item.prompt,
        ...item.sampling,
        model: served.name,
        cache_salt: served.cacheSalt,
      },
      AbortSignal.timeout(answerMs),
    );
    const { choices: [choice], usage } = Completion.parse(await response.json());
    const calls = choice?.message.tool_calls ?? [];
    const text = calls.length > 0
      ? toolCallText(calls.map((call) => call.function))
      : choice?.message.content ?? "";
    await record({
      status: "succeeded",
      http_status: 200,
      error_code: null,
      prompt_tokens: usage.prompt_tokens,
      completion_tokens: usage.completion_tokens ?? 0,
    }, {
      answer: text,
      finish_reason: choice?.finish_reason ?? null,
      scores: scoreAnswer(item.expected, text, item.graders, { isJson: item.is_json }),
    });
  } catch (error) {
    const failure = asApiError(error);
    const { code, message, entry: { status } } = failure;
    await record(
      { status: "failed", http_status: status, error_code: code, seconds: 0 },
      // Every other row would fail in the same way.
      code === "model_not_servable" || code === "model_files_invalid"
        ? { ends: { code, message } }
        // Not after inference_timeout (504): a retry would take just as long.
        : { error: message, ...(status === 503 ? { retry_seconds: retrySeconds } : {}) },
    );
  }
}
