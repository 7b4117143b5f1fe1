/**
 * OpenAI's POST /chat/completions and POST /completions, served by vLLM. The model is one of the project's fine-tunes, a
 * checkpoint of one of its jobs, or a base model.
 */
import { rpc } from "../../../_shared/database/rpc.ts";
import { addToLog } from "../../../_shared/http.ts";
import { jsonBody } from "../../../_shared/validation.ts";
import type { ApiContext } from "../../context.ts";
import { Bill } from "../../inference/bill.ts";
import {
  asApiError,
  askEngine,
  askUntilLoaded,
  type Engine,
  isRecord,
  loading,
  timedOut,
  unavailable,
} from "../../../_shared/inference/engine.ts";
import {
  bounds,
  ChatBody,
  engineBody,
  type InferenceBody,
  readBody,
  TextBody,
} from "../../inference/request.ts";
import { serve, StartedInference } from "../../../_shared/inference/served_model.ts";
import { Recorder } from "../../inference/stored_completion.ts";
import { type Exchange, streamAnswer } from "../../inference/stream.ts";
import { defineRoute } from "../define.ts";

type Path = "chat/completions" | "completions";

/** A stream without an answer after this time opens with a comment, and then reports a failure as an event. */
const openAfterMs = 2_000;

const completeChat = async (c: ApiContext) =>
  await complete(c, "chat/completions", readBody(ChatBody, await jsonBody(c.req)));
const completeText = async (c: ApiContext) =>
  await complete(c, "completions", readBody(TextBody, await jsonBody(c.req)));

async function complete(c: ApiContext, path: Path, body: InferenceBody): Promise<Response> {
  const platform = c.get("platform");
  const { db, settings } = platform;
  const started = await rpc(db, "start_inference", {
    caller: c.get("caller"),
    request: { model: body.model, stream: body.stream ?? false, store: isStored(body), ...bounds(body) },
  }, StartedInference);
  addToLog(c, { inference_request: started.id, stream: body.stream ?? false });
  const bill = new Bill(platform, started.id);
  const controller = new AbortController();
  const client = c.req.raw.signal;
  client.addEventListener("abort", () => controller.abort());
  try {
    const engine = { settings, started, served: await serve(platform, started) };
    const signal = AbortSignal.any([
      controller.signal,
      AbortSignal.timeout(settings.inferenceTimeoutSeconds * 1000),
    ]);
    const ask = body.stream ? askUntilLoaded : askEngine;
    const answer = ask(engine, path, engineBody(body, engine.served.name, engine.served.cacheSalt), signal);
    const exchange: Exchange = {
      platform,
      engine,
      bill,
      answerId: `${path === "completions" ? "cmpl" : "chatcmpl"}-${started.id.replaceAll("-", "")}`,
      includeUsage: body.stream_options?.include_usage ?? false,
      recorder: isStored(body) ? new Recorder(body) : null,
      controller,
    };
    if (body.stream) {
      const first = await within(answer, openAfterMs);
      return streamAnswer(exchange, answer, first === null);
    }
    const json = await wholeAnswer(exchange, answer);
    exchange.recorder?.setResponse(json);
    await bill.finish("succeeded", { completion: exchange.recorder?.completion() ?? null });
    return c.json(json);
  } catch (error) {
    if (client.aborted) {
      await bill.finish("cancelled");
      return new Response(null, { status: 499 }); // the client has disconnected
    }
    const failure = asApiError(error);
    await bill.finish("failed", { error: failure });
    throw failure;
  }
}

const isStored = (body: InferenceBody): body is ChatBody => "store" in body && body.store === true;

/** The complete answer, with the model's name as the client sent it. The engine has `inferenceWaitSeconds` to respond. */
async function wholeAnswer({ engine, bill, answerId, controller }: Exchange, answer: Promise<Response>) {
  const json = await within(
    answer.then((response) => response.json()),
    engine.settings.inferenceWaitSeconds * 1000,
  );
  if (json === null) {
    controller.abort();
    throw await isReady(engine) ? timedOut() : loading();
  }
  if (!isRecord(json.value)) throw unavailable("the answer is not an object");
  bill.add(json.value.usage);
  return { ...json.value, id: answerId, model: engine.started.model };
}

/** Whether a worker is ready: then a request that gets no answer is not waiting for the model to load. */
async function isReady({ settings, started }: Engine): Promise<boolean> {
  const url = `${settings.inferenceUrl.replace("{endpoint}", started.endpoint_id)}/ping`;
  const headers = { authorization: `Bearer ${settings.runpodKey}` };
  try {
    const response = await fetch(url, { headers, signal: AbortSignal.timeout(2_000) });
    await response.body?.cancel();
    return response.status === 200;
  } catch {
    return false;
  }
}

/** The promise's value, or null if it takes longer. */
async function within<T>(promise: Promise<T>, ms: number): Promise<{ value: T } | null> {
  const late = Promise.withResolvers<null>();
  const timer = setTimeout(() => late.resolve(null), ms);
  try {
    return await Promise.race([promise.then((value) => ({ value })), late.promise]);
  } finally {
    clearTimeout(timer);
    promise.catch(() => {}); // reported where it is awaited, or too late to matter
  }
}

const answerErrors = [
  "model_not_found",
  "model_not_servable",
  "model_files_invalid",
  "context_length_exceeded",
  "spend_cap_exceeded",
  "project_archived",
  "model_loading",
  "inference_unavailable",
  "inference_timeout",
] as const;

export const routes = [
  defineRoute({
    method: "POST",
    path: "/chat/completions",
    id: "createChatCompletion",
    summary: "Call a model with messages",
    description:
      "The model is a fine-tune of yours, a checkpoint (`fine_tuned_model_checkpoint`), or a base model.",
    scope: "inference",
    idempotency: "none",
    body: ChatBody,
    example: {
      model: "ft:SmolLM2-135M-Instruct:acme:support:0f1e2d3c",
      messages: [{ role: "user", content: "Where is my order?" }],
      max_completion_tokens: 200,
    },
    response: {
      200: {
        description: "The answer, or its chunks if `stream` is true",
        content: { "application/json": "ChatCompletion", "text/event-stream": "ServerSentEvent" },
      },
    },
    errors: [...answerErrors, "store_not_enabled"],
    handler: completeChat,
  }),
  defineRoute({
    method: "POST",
    path: "/completions",
    id: "createCompletion",
    summary: "Call a model with a prompt",
    scope: "inference",
    idempotency: "none",
    body: TextBody,
    example: { model: "SmolLM2-135M-Instruct", prompt: "The capital of France is", max_tokens: 5 },
    response: {
      200: {
        description: "The answer, or its chunks if `stream` is true",
        content: { "application/json": "Completion", "text/event-stream": "ServerSentEvent" },
      },
    },
    errors: [...answerErrors],
    handler: completeText,
  }),
];
