/** Failures of the engine map to the SDK's error classes, and each request is recorded and charged once. */
import { assert, assertEquals, assertRejects, assertStringIncludes } from "#assert";
import OpenAI from "openai";
import { complete, vllmError } from "../support/fake_inference.ts";
import { trainedJob } from "../support/fake_worker.ts";
import { startTunebase, type TestUser } from "../support/test_server.ts";

const tunebase = await startTunebase({
  TUNEBASE_INFERENCE_WAIT_SECONDS: "1",
  TUNEBASE_INFERENCE_TIMEOUT_SECONDS: "4",
});
Deno.test.afterAll(() => tunebase.close());
const { inference, sql } = tunebase;
const base = "SmolLM2-135M-Instruct";
const messages = [{ role: "user" as const, content: "hi" }];
const tokens = ["It", " is", " fine"];
const ok = complete(tokens);
/** USD per token: 1 for the prompt's seven, 2 for each of the answer. */
await sql`update tunebase.base_models set inference_usd_per_million_input_tokens = 1,
  inference_usd_per_million_output_tokens = 2, inference_max_length = 2048`;
const user = await tunebase.user();

const call = (who: TestUser = user) => who.openai.chat.completions.create({ model: base, messages });
const stream = (who: TestUser = user, more = {}) =>
  who.openai.chat.completions.create({ model: base, messages, stream: true, ...more });
const text = async (answer: AsyncIterable<OpenAI.ChatCompletionChunk>, into: string[] = []) => {
  for await (const { choices } of answer) into.push(choices[0]?.delta.content ?? "");
  return into.join("");
};

interface Row {
  status: string;
  error_code: string | null;
  http_status: number | null;
  prompt_tokens: number;
  completion_tokens: number;
  cost_usd: number;
}
/** The newest request's row, once it is finished. */
async function finished(who: TestUser = user): Promise<Row> {
  for (let i = 0;; i++) {
    const [row] = await sql<(Row & { id: string })[]>`
      select status, error_code, http_status, prompt_tokens, completion_tokens, cost_usd::float8 as cost_usd
      from tunebase.inference_requests where project_id = ${who.projectId} order by id desc limit 1`;
    if (row !== undefined && (row.status !== "open" || i >= 100)) return row;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
const outcome = ({ status, error_code }: Row) => [status, error_code];

Deno.test("answers are charged by the token, streamed or not", async () => {
  inference.answer = ok;
  const row = {
    status: "succeeded",
    error_code: null,
    http_status: 200,
    prompt_tokens: 7,
    completion_tokens: 3,
    cost_usd: 13e-6,
  };
  await call();
  assertEquals(await finished(), row);
  await text(await stream());
  assertEquals(await finished(), row);
  const [spend] = await sql`select cost_usd::float8 as usd from tunebase_internal.inference_spend
    where project_id = ${user.projectId}`;
  assertEquals(spend?.usd, 26e-6);
  const [usage] = await sql`select sum(requests)::int as requests, sum(prompt_tokens)::int as prompt,
    sum(completion_tokens)::int as completion from tunebase.inference_usage where project_id = ${user.projectId}`;
  assertEquals(usage, { requests: 2, prompt: 14, completion: 6 });
});

Deno.test("an hourly price is charged for the seconds of the answer", async () => {
  const other = await tunebase.user();
  await sql`update tunebase.base_models set inference_usd_per_hour = 36`;
  inference.answer = complete(tokens, { delayMs: 100 });
  await text(await stream(other));
  const { cost_usd } = await finished(other);
  assert(cost_usd > 0.0025 && cost_usd < 0.03, `${cost_usd} USD for 0.3 s at 0.01 USD per second`);
  await sql`update tunebase.base_models set inference_usd_per_hour = 0`;
});

Deno.test("request errors keep the engine's message, and a context that is too long is reported with the limit", async () => {
  inference.answer = ({ body }) =>
    vllmError(400, `The model \`${body.model}\` does not support tool_choice "x".`);
  const error = await assertRejects(() => call(), OpenAI.BadRequestError);
  assertEquals(error.code, "invalid_request");
  assertStringIncludes(error.message, `The model ${base} does not support`);
  assertEquals(outcome(await finished()), ["failed", "invalid_request"]);

  inference.answer = () =>
    vllmError(400, "This model's maximum context length is 2048 tokens. However, you requested 3000 tokens.");
  for (const ask of [call, stream]) {
    const { code, message } = await assertRejects(() => ask(), OpenAI.BadRequestError);
    assertEquals(code, "context_length_exceeded");
    assertStringIncludes(message, "maximum context length is 2048 tokens");
    assertEquals((await finished()).cost_usd, 0);
  }
});

const unavailable: [what: string, answer: () => Response, code: string][] = [
  [
    "RunPod has no worker",
    () => new Response("<html>504 Gateway Time-out</html>", { status: 504 }),
    "model_loading",
  ],
  [
    "RunPod has no worker within two minutes",
    () => Response.json({ error: "no worker" }, { status: 400 }),
    "model_loading",
  ],
  ["a worker is loading", () => new Response(null, { status: 204 }), "model_loading"],
  ["RunPod throttles", () => new Response("slow down", { status: 429 }), "inference_unavailable"],
  ["the worker dies", () => new Response("<html>502</html>", { status: 502 }), "inference_unavailable"],
  ["the engine dies", () => vllmError(500, "EngineCore died"), "inference_unavailable"],
  ["RunPod rejects the key", () => new Response("", { status: 401 }), "inference_unavailable"],
  ["the endpoint returns HTML", () => new Response("<html>hello</html>"), "inference_unavailable"],
  [
    "an adapter cannot be downloaded",
    () => vllmError(424, "no", "adapter_unavailable"),
    "inference_unavailable",
  ],
];
for (const [what, answer, code] of unavailable) {
  Deno.test(`${what}: 503 with Retry-After for the SDK`, async () => {
    inference.answer = answer;
    const error = await assertRejects(() => call(), OpenAI.InternalServerError);
    assertEquals([error.status, error.code], [503, code]);
    assertEquals(error.headers?.get("x-should-retry"), "true");
    assertEquals(error.headers?.get("retry-after"), code === "model_loading" ? "30" : "5");
    assertEquals([...outcome(await finished()), (await finished()).cost_usd], ["failed", code, 0]);
    const before = inference.requests.length;
    inference.answer = (request) => inference.requests.length > before + 1 ? ok(request) : answer();
    const retrying = new OpenAI({
      baseURL: `${tunebase.url}/functions/v1/tunebase`,
      apiKey: user.apiKey,
      maxRetries: 2,
      // The header says seconds; the test cannot wait for them.
      fetch: async (url, init) => {
        const response = await fetch(url, init);
        if (response.status !== 503) return response;
        const headers = new Headers(response.headers);
        headers.set("retry-after-ms", "5");
        return new Response(response.body, { status: 503, headers });
      },
    });
    const done = await retrying.chat.completions.create({ model: base, messages });
    assertEquals(done.choices[0]?.message.content, "It is fine");
  });
}

Deno.test("an endpoint that refuses connections: 503", async () => {
  const [before] = await sql`select inference_endpoint_id as id from tunebase.base_models limit 1`;
  const lost = await startTunebase({ TUNEBASE_INFERENCE_URL: "http://127.0.0.1:9/{endpoint}" });
  try {
    const who = await lost.user();
    const error = await assertRejects(() => call(who), OpenAI.InternalServerError);
    assertEquals([error.code, before?.id], ["inference_unavailable", "local-inference"]);
  } finally {
    await lost.close();
  }
});

Deno.test("a non-streaming call times out, retryable while the model loads and final if it is only slow", async () => {
  inference.answer = (request) =>
    new Promise((resolve) => request.signal.addEventListener("abort", () => resolve(new Response(null))));
  inference.ping = 204;
  const cold = await assertRejects(() => call(), OpenAI.InternalServerError);
  assertEquals([cold.status, cold.code], [503, "model_loading"]);
  assert(inference.last.signal.aborted, "the request to the engine is closed");
  inference.ping = 200;
  const slow = await assertRejects(() => call(), OpenAI.InternalServerError);
  assertEquals([slow.status, slow.code, slow.headers?.get("x-should-retry")], [
    504,
    "inference_timeout",
    "false",
  ]);
});

Deno.test("while a model loads, a stream opens with comments before the answer", async () => {
  inference.answer = async (request) => {
    await new Promise((resolve) => setTimeout(resolve, 2500));
    return await ok(request);
  };
  const response = await user.fetch("/chat/completions", {
    method: "POST",
    body: JSON.stringify({ model: base, messages, stream: true }),
  });
  assertEquals(response.headers.get("content-type"), "text/event-stream; charset=utf-8");
  assertStringIncludes(await response.text(), ": loading the model\n\ndata: {");
  assertEquals(await text(await stream()), "It is fine", "the SDK skips the comments");
});

Deno.test("a stream retries while no worker is ready", async () => {
  const before = inference.requests.length;
  inference.answer = (request) =>
    inference.requests.length > before + 1 ? ok(request) : new Response(null, { status: 204 });
  assertEquals(await text(await stream()), "It is fine");
  assertEquals(inference.requests.length, before + 2);
});

Deno.test("a failure after the stream has opened is an event that the SDK raises", async () => {
  for (const [status, code] of [[502, "inference_unavailable"], [504, "model_loading"]] as const) {
    inference.answer = async () => {
      await new Promise((resolve) => setTimeout(resolve, 2300));
      return new Response("<html>an error of a gateway</html>", { status });
    };
    const answer = await stream();
    const error = await assertRejects(() => text(answer), OpenAI.APIError);
    assertEquals(error.code, code);
    assertEquals(outcome(await finished()), ["failed", code]);
  }
});

Deno.test("reaching RunPod's limit of 5.5 minutes is an error without a retry", async () => {
  inference.answer = () => new Response("<html>524</html>", { status: 524 });
  const error = await assertRejects(() => call(), OpenAI.InternalServerError);
  assertEquals([error.status, error.code, error.headers?.get("x-should-retry")], [
    504,
    "inference_timeout",
    "false",
  ]);
});

for (const end of ["lost", "error"] as const) {
  Deno.test(`a worker that dies in the middle of a stream (${end}) ends it with an error, without [DONE]`, async () => {
    inference.answer = complete(tokens, { end, delayMs: 20 });
    const got: string[] = [];
    const answer = await stream();
    const error = await assertRejects(() => text(answer, got), OpenAI.APIError);
    assertEquals([error.code, got.join("")], ["inference_unavailable", "It is fine"]);
    const row = await finished();
    assertEquals([...outcome(row), row.completion_tokens], ["failed", "inference_unavailable", 3]);
    inference.answer = complete(tokens, { end });
    const response = await user.fetch("/chat/completions", {
      method: "POST",
      body: JSON.stringify({ model: base, messages, stream: true }),
    });
    assert(!(await response.text()).includes("[DONE]"));
  });
}

Deno.test("an answer that takes longer than the time limit ends with an error", async () => {
  inference.answer = complete(tokens, { end: "hang" });
  const answer = await stream();
  const error = await assertRejects(() => text(answer), OpenAI.APIError);
  assertEquals(error.code, "inference_timeout");
  assertEquals(outcome(await finished()), ["failed", "inference_timeout"]);
});

Deno.test("when a client closes a stream, the engine's request ends within a second, and the streamed tokens are charged", async () => {
  inference.answer = complete(tokens, { end: "hang" });
  const answer = await stream();
  let seen = 0;
  for await (const { choices } of answer) {
    if (choices[0]?.delta.content) seen += 1;
    if (seen === tokens.length) break;
  }
  await within(1000, () => inference.last.signal.aborted);
  const row = await finished();
  assertEquals(row, { ...row, status: "cancelled", prompt_tokens: 7, completion_tokens: 3, cost_usd: 13e-6 });
});

Deno.test("when a client disconnects before the answer, the API ends the engine's request", async () => {
  inference.answer = (request) =>
    new Promise((resolve) => request.signal.addEventListener("abort", () => resolve(new Response(null))));
  for (const streamed of [false, true]) {
    const before = inference.requests.length;
    // A raw socket, because an aborted fetch in Deno sometimes keeps the connection open until the response.
    const { hostname, port } = new URL(tunebase.url);
    const socket = await Deno.connect({ hostname, port: Number(port) });
    const body = JSON.stringify({ model: base, messages, stream: streamed });
    await socket.write(new TextEncoder().encode(
      `POST /functions/v1/tunebase/chat/completions HTTP/1.1\r\nhost: ${hostname}\r\n` +
        `authorization: Bearer ${user.apiKey}\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
    ));
    await within(1000, () => inference.requests.length > before);
    socket.close();
    await within(900, () => inference.last.signal.aborted);
    const row = await finished();
    assertEquals([row.status, row.cost_usd], ["cancelled", 0]);
  }
});

Deno.test("missing or modified adapter files are an error without a retry", async () => {
  const other = await tunebase.user();
  const model = (await trainedJob(tunebase, other)).fine_tuned_model ?? "";
  const ask = () => other.openai.chat.completions.create({ model, messages });
  await sql`update tunebase.adapters set prefix = 'nowhere' where name = ${model}`;
  const missing = await assertRejects(ask, OpenAI.ConflictError);
  assertEquals([missing.code, missing.headers?.get("x-should-retry")], ["model_files_invalid", "false"]);
  assertStringIncludes(missing.message, "are missing from Storage");
  assertEquals(outcome(await finished(other)), ["failed", "model_files_invalid"]);
  await sql`update tunebase.adapters a set prefix = t.project_id || '/' || t.job_id || '/' || t.number
    from tunebase.attempts t where t.id = a.attempt_id and a.name = ${model}`;
  inference.answer = () => vllmError(424, "hash mismatch", "adapter_corrupt");
  assertStringIncludes((await assertRejects(ask, OpenAI.ConflictError)).message, "differ from those");
  for (const code of ["base_model_mismatch", "rank_too_large"]) {
    inference.answer = () => vllmError(424, "no", code);
    assertEquals((await assertRejects(ask, OpenAI.BadRequestError)).code, "model_not_servable");
  }
});

Deno.test("a request that may exceed the project's spend cap is rejected before it starts", async () => {
  const other = await tunebase.user();
  await sql`update tunebase.projects set spend_cap_usd = 0.006 where id = ${other.projectId}`;
  inference.answer = ok;
  // 2,048 tokens of context at 2 USD per million, and about a thousand of the prompt at 1.
  await call(other);
  const error = await assertRejects(
    () => other.openai.chat.completions.create({ model: base, messages, n: 2 }),
    OpenAI.PermissionDeniedError,
  );
  assertEquals(error.code, "spend_cap_exceeded");
  assertStringIncludes(error.message, "this request may cost 0.009");
  // Concurrent requests reserve their cost.
  inference.answer = complete(tokens, { end: "hang" });
  const controller = new AbortController();
  const open = await other.openai.chat.completions.create(
    { model: base, messages, stream: true },
    { signal: controller.signal },
  );
  await assertRejects(() => call(other), OpenAI.PermissionDeniedError);
  controller.abort();
  await text(open).catch(() => {});
  await finished(other);
  inference.answer = ok;
  await call(other);
});

// @proves spend-cap
Deno.test("concurrent requests cannot exceed the cap", async () => {
  const other = await tunebase.user();
  // A request reserves more than half of it.
  await sql`update tunebase.projects set spend_cap_usd = 0.006 where id = ${other.projectId}`;
  inference.answer = ok;
  const first = { model: base, stream: false, prompts: 1, choices: 1, max_prompt_tokens: 1000 };
  const second = await sql.begin(async (transaction) => {
    await transaction`select tunebase_internal.insert_inference_request(
      ${other.projectId}, null, null, ${sql.json(first)})`;
    const outcome = call(other).then(() => "answered", ({ code }: { code: string }) => code);
    await Promise.race([outcome, waitsForLock()]);
    return { outcome };
  });
  assertEquals(await second.outcome, "spend_cap_exceeded");
});

async function waitsForLock(): Promise<void> {
  for (let i = 0; i < 250; i++) {
    const waiting = await sql`select 1 from pg_locks where locktype = 'advisory' and not granted`;
    if (waiting.length > 0) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

Deno.test("a request is charged once even if it is finished twice, and is free if its process died", async () => {
  const other = await tunebase.user();
  inference.answer = ok;
  await call(other);
  const [request] =
    await sql`select id from tunebase.inference_requests where project_id = ${other.projectId}`;
  const again = { status: "failed", prompt_tokens: 1000, completion_tokens: 1000, seconds: 5 };
  const [second] = await sql`select tunebase_internal.finish_inference(${request?.id}, ${
    sql.json(again)
  }) as done`;
  assertEquals([second?.done, (await finished(other)).cost_usd], [false, 13e-6]);

  inference.answer = complete(tokens, { end: "hang" });
  const controller = new AbortController();
  const open = await stream(other);
  await sql`update tunebase.inference_requests set id = tunebase_internal.uuid7_lower_bound(now() - interval '16 minutes')
    where project_id = ${other.projectId} and status = 'open'`;
  await tunebase.tick();
  const rows = await sql`select status, cost_usd::float8 as usd from tunebase.inference_requests
    where project_id = ${other.projectId} order by id`;
  assertEquals(rows.map(({ status, usd }) => [status, usd]), [["abandoned", 0], ["succeeded", 13e-6]]);
  controller.abort();
  open.controller.abort();
});

Deno.test("logs and errors contain no token, signed URL or messages", async () => {
  const secret = "a very private question";
  inference.answer = () => vllmError(500, `boom ${secret}`);
  const model = (await trainedJob(tunebase, user)).fine_tuned_model ?? "";
  const error = await assertRejects(
    () => user.openai.chat.completions.create({ model, messages: [{ role: "user", content: secret }] }),
    OpenAI.InternalServerError,
  );
  const { token, body } = inference.last;
  const seen = JSON.stringify([tunebase.logs, error.message, error.error]);
  for (const hidden of [secret, token.cache_salt, token.model, token.adapter?.files[0]?.url, "token="]) {
    assert(hidden !== undefined && !seen.includes(hidden), `${hidden} is in a log or an error`);
  }
  assert(body !== undefined);
});

async function within(ms: number, condition: () => boolean): Promise<void> {
  const until = performance.now() + ms;
  while (!condition()) {
    assert(performance.now() < until, `not within ${ms} ms`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
