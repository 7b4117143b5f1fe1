/** POST /evaluations: compares models over a file's rows, including crashes and failures. */
import { assert, assertEquals, assertMatch } from "#assert";
import { complete, vllmError } from "../support/fake_inference.ts";
import { trainedJob } from "../support/fake_worker.ts";
import { startTunebase, type TestUser } from "../support/test_server.ts";
import { bundledCli } from "../support/cli_runner.ts";

const tunebase = await startTunebase();
const { inference, sql } = tunebase;
const ada = await tunebase.user();
await sql`update tunebase.base_models set inference_usd_per_million_output_tokens = 1000`;
const base = "SmolLM2-135M-Instruct";
const tuned = (await trainedJob(tunebase, ada)).fine_tuned_model ?? "";
const cli = await bundledCli({
  TUNEBASE_BASE_URL: `${tunebase.url}/functions/v1/tunebase`,
  TUNEBASE_API_KEY: ada.apiKey,
});
Deno.test.afterAll(async () => {
  await cli.close();
  await tunebase.close();
});

const row = (question: string, answer: object) =>
  JSON.stringify({ messages: [{ role: "user", content: question }, { role: "assistant", ...answer }] });
const rows = [
  row("q1", { content: '{"team": "billing", "urgent": true}' }),
  row("q2", { content: "A refund is due" }),
  row("q3", {
    content: null,
    tool_calls: [{ id: "c1", type: "function", function: { name: "get", arguments: '{"id": 7}' } }],
  }),
].join("\n").replace('"messages":', '"messages":');
const tools =
  '"tools":[{"type":"function","function":{"name":"get","parameters":{"type":"object","properties":{}}}}],';
const text = rows.split("\n").map((line, i) => i === 2 ? line.replace("{", `{${tools}`) : line).join("\n");

async function upload(user: TestUser, content = text) {
  const file = await user.openai.files.create({
    file: new File([content], "held-out.jsonl"),
    purpose: "fine-tune",
  });
  return file.id;
}
async function post(user: TestUser, body: Record<string, unknown>) {
  const response = await user.fetch("/evaluations", { method: "POST", body: JSON.stringify(body) });
  return { status: response.status, body: await response.json() };
}
const get = async (id: string, path = "") => await (await ada.fetch(`/evaluations/${id}${path}`)).json();

/** One tick after making all answers due, which otherwise become due one by one, and failed ones later. */
async function tickWhenDue() {
  await sql`update tunebase_internal.evaluation_queue set next_at = now()`;
  await tunebase.tick();
}

/** The tuned model gives every expected answer; the base only the second. */
function answerLikeModels() {
  inference.answer = (request) => {
    const content = (request.body.messages as { content: string }[])[0]?.content;
    if (content === "q2") return complete(["A refund is due"])(request);
    if (request.token.adapter === null) return complete(["no idea"])(request);
    if (content === "q1") return complete(['{"urgent": true, "team": "billing"}'])(request);
    const call = { id: "x", type: "function", function: { name: "get", arguments: '{ "id": 7 }' } };
    return Response.json({
      choices: [{
        index: 0,
        finish_reason: "tool_calls",
        message: { role: "assistant", content: null, tool_calls: [call] },
      }],
      usage: { prompt_tokens: 7, completion_tokens: 5, total_tokens: 12 },
    });
  };
}

Deno.test("an evaluation sends every row to every model, scores the answers, and is charged", async () => {
  answerLikeModels();
  inference.requests.length = 0;
  const created = await post(ada, {
    models: [tuned, base],
    file: await upload(ada),
    graders: [{ type: "contains", value: "REFUND", ignore_case: true }, {
      type: "regex",
      pattern: "^A .* due$",
    }],
  });
  assertEquals(
    [created.status, created.body.status, created.body.answered],
    [201, "running", 0],
    JSON.stringify(created),
  );
  await tickWhenDue();
  const done = await get(created.body.id);
  assertEquals(
    [done.status, done.answered, done.rows, done.file_rows],
    ["succeeded", 6, 3, 3],
    JSON.stringify(done),
  );
  const [ofTuned, ofBase] = done.totals;
  assertEquals(
    [ofTuned.model, ofTuned.answered, ofTuned.failed, ofTuned.valid_json, ofTuned.field_accuracy],
    [tuned, 3, 0, 1, 1],
  );
  // JSON in another order is not an exact match, tool calls are.
  assertEquals([ofTuned.exact_match, ofBase.exact_match].map((x) => x.toFixed(3)), ["0.667", "0.333"]);
  assertEquals([ofBase.valid_json, ofBase.field_accuracy], [0, 0]);
  assertEquals(ofTuned.graders.map((x: number) => x.toFixed(2)), ["0.33", "0.33"]);
  assert(ofTuned.cost_usd > 0);
  const { body } = inference.requests.find(({ body }) => JSON.stringify(body).includes("q3")) ?? {};
  assertEquals([body?.temperature, body?.max_completion_tokens, Array.isArray(body?.tools)], [0, 512, true]);
  const [billed] =
    await sql`select count(*)::int, sum(cost_usd)::float8 as cost from tunebase.inference_requests
    where project_id = ${ada.projectId} and status = 'succeeded'`;
  assertEquals(billed?.count, 6);
  assertEquals(billed?.cost.toFixed(6), (ofTuned.cost_usd + ofBase.cost_usd).toFixed(6));

  const page = await get(created.body.id, "/rows?limit=2");
  assertEquals([page.data.length, page.has_more, page.data[0].id], [2, true, "evalrow_1"]);
  const rest = await get(created.body.id, `/rows?after=${page.last_id}`);
  assertEquals([rest.data[0].line, rest.data[0].expected], [3, '[{"name":"get","arguments":{"id":7}}]']);
  assertEquals(rest.data[0].answers.map((a: { exact_match: boolean }) => a.exact_match), [true, false]);
  const listed = await (await ada.fetch(`/evaluations?model=${encodeURIComponent(tuned)}`)).json();
  assertEquals(listed.data[0].id, created.body.id);
});

Deno.test("a row with a NUL character is evaluated", async () => {
  const file = await upload(ada, row("a\0b", { content: "c\0" }));
  const { status } = await post(ada, { models: [base], file });
  assertEquals(status, 201);
  const [stored] = await sql<{ text: string }[]>`
    select prompt::text || expected as text from tunebase.evaluation_rows order by evaluation_id desc limit 1`;
  assert(stored?.text.includes("a\uFFFDb"), stored?.text);
});

Deno.test("requests to a loading model and of a crashed tick are retried, and each answer is charged once", async () => {
  const { body: { id } } = await post(ada, { models: [base], file: await upload(ada) });
  inference.answer = () => new Response("no workers", { status: 503 });
  await tickWhenDue();
  assertEquals((await get(id)).answered, 0);
  answerLikeModels();
  await tunebase.tick();
  assertEquals((await get(id)).answered, 0, "not before 30 s have passed");
  // A tick that died holds leases until they expire.
  await sql`update tunebase_internal.evaluation_queue set lease = gen_random_uuid(), next_at = now()`;
  await tunebase.tick();
  assertEquals([(await get(id)).status, (await get(id)).answered], ["succeeded", 3]);
  // The late answer of the tick that was considered dead changes nothing.
  const [late] = await sql`select tunebase_internal.record_evaluation_answer(
    e.id, 1, 1, gen_random_uuid(), gen_random_uuid(), '{"status": "succeeded", "prompt_tokens": 1, "completion_tokens": 1,
    "seconds": 1}', '{"answer": "late", "scores": {}}') as stored from tunebase.evaluations e order by id desc limit 1`;
  assertEquals(late?.stored, false);
});

Deno.test("a row that is too long fails alone, with the reason", async () => {
  inference.answer = (request) =>
    JSON.stringify(request.body.messages).includes("q1")
      ? vllmError(400, "This model's maximum context length is 16 tokens. However, you requested 99 tokens.")
      : complete(["A refund is due"])(request);
  const { body: { id } } = await post(ada, { models: [base], file: await upload(ada) });
  await tickWhenDue();
  const done = await get(id);
  assertEquals([done.status, done.totals[0].answered, done.totals[0].failed], ["succeeded", 2, 1]);
  const { data } = await get(id, "/rows");
  assertMatch(data[0].answers[0].error, /maximum context length/);
});

Deno.test("the spend cap and a deleted model end an evaluation; its answers are kept", async () => {
  answerLikeModels();
  const { body: { id } } = await post(ada, {
    models: [base],
    file: await upload(ada),
    max_completion_tokens: 8192,
  });
  await sql`update tunebase.projects set spend_cap_usd = 0.02 where id = ${ada.projectId}`;
  await tunebase.tick();
  const done = await get(id);
  assertEquals([done.status, done.error?.code], ["failed", "spend_cap_exceeded"]);
  assertMatch(done.error.message, /cap/);
  await sql`update tunebase.projects set spend_cap_usd = 50 where id = ${ada.projectId}`;

  const second = (await trainedJob(tunebase, ada)).fine_tuned_model ?? "";
  const later = await post(ada, { models: [second], file: await upload(ada) });
  assertEquals((await ada.fetch(`/models/${second}`, { method: "DELETE" })).status, 200);
  await tunebase.tick();
  const ended = await get(later.body.id);
  assertEquals([ended.status, ended.error?.code], ["failed", "model_not_found"]);
});

Deno.test("a model that the engine does not serve ends an evaluation with the error of a request", async () => {
  inference.answer = () => vllmError(424, "no", "base_model_mismatch");
  const { body: { id } } = await post(ada, { models: [base], file: await upload(ada) });
  await tickWhenDue();
  const { status, error } = await get(id);
  const refused = await ada.fetch("/chat/completions", {
    method: "POST",
    body: JSON.stringify({ model: base, messages: [{ role: "user", content: "q1" }] }),
  });
  assertEquals(
    { status, error },
    { status: "failed", error: { code: "model_not_servable", message: (await refused.json()).detail } },
  );
});

Deno.test("rows fail after ten attempts if the engine never responds", async () => {
  inference.answer = () => new Response("no workers", { status: 503 });
  const { body: { id } } = await post(ada, { models: [base], file: await upload(ada), max_rows: 1 });
  inference.requests.length = 0;
  for (let tries = 0; tries < 9; tries++) await tickWhenDue();
  assertEquals((await get(id)).status, "running");
  await tickWhenDue();
  const { status, totals: [totals] } = await get(id);
  assertEquals([status, totals.answered, totals.failed, inference.requests.length], ["succeeded", 0, 1, 10]);
  assertEquals(totals.cost_usd, 0);
});

Deno.test("a project can run at most ten evaluations at a time", async () => {
  const user = await tunebase.user();
  const file = await upload(user);
  for (let n = 0; n < 10; n++) assertEquals((await post(user, { models: [base], file })).status, 201);
  const refused = await post(user, { models: [base], file });
  assertEquals([refused.status, refused.body.error.code], [403, "quota_exceeded"]);
  assertMatch(refused.body.detail, /10 running evaluations.*Wait for one to end/);
  await sql`delete from tunebase.evaluations where project_id = ${user.projectId}`;
});

Deno.test("canceling stops an evaluation, and deleting removes it", async () => {
  const { body: { id } } = await post(ada, { models: [base], file: await upload(ada) });
  assertEquals(
    (await (await ada.fetch(`/evaluations/${id}/cancel`, { method: "POST" })).json()).status,
    "cancelled",
  );
  const before = inference.requests.length;
  await tunebase.tick();
  assertEquals(inference.requests.length, before);
  assertEquals((await ada.fetch(`/evaluations/${id}`, { method: "DELETE" })).status, 200);
  assertEquals((await ada.fetch(`/evaluations/${id}`)).status, 404);
  const [left] = await sql`select count(*)::int from tunebase_internal.evaluation_queue`;
  assertEquals(left?.count, 0);
});

Deno.test("rejects invalid requests with the field and the reason", async () => {
  const file = await upload(ada);
  const preference = await upload(
    ada,
    JSON.stringify({
      input: { messages: [{ role: "user", content: "q" }] },
      preferred_output: [{ role: "assistant", content: "a" }],
      non_preferred_output: [{ role: "assistant", content: "b" }],
    }),
  );
  for (
    const [body, status, message] of [
      [{ models: [], file }, 400, /models = \[\]: is too short/],
      [{ models: [base, base], file }, 400, /must not name a model twice/],
      [{ models: ["ft:nobody:x"], file }, 404, /is not available/],
      [{ models: [base], file: "file-1" }, 400, /must be the id of an uploaded file/],
      [{ models: [base], file: `file-${"0".repeat(32)}` }, 404, /no such file/],
      [{ models: [base], file: preference }, 400, /preference rows/],
      [{ models: [base], file, graders: [{ type: "regex", pattern: "(" }] }, 400, /graders\.0\.pattern.*RE2/],
      [{ models: [base], file, rows: 3 }, 400, /unknown field/],
    ] as [Record<string, unknown>, number, RegExp][]
  ) {
    const refused = await post(ada, body);
    assertEquals(refused.status, status, JSON.stringify(refused.body));
    assertMatch(refused.body.detail, message);
  }
});

Deno.test("the CLI can compare a model with its base and chat with both", async () => {
  answerLikeModels();
  const path = `${cli.home}/held-out.jsonl`;
  await Deno.writeTextFile(path, text);
  const evaluating = cli.start(["eval", tuned, path, "--contains", "refund"]);
  const ticks = setInterval(() => void tunebase.tick(), 300);
  const { code, out, err } = await evaluating.done.finally(() => clearInterval(ticks));
  assertEquals(code, 0, err);
  assertMatch(out, /MODEL .*ANSWERS .*EXACT .*VALID JSON .*FIELDS .*CONTAINS "REFUND"/);
  assertMatch(out, new RegExp(`${tuned} +3 +66\\.7% +100%`));
  const id = /eval_[0-9a-f]{32}/.exec(out)?.[0] ?? "";
  assertMatch((await cli.run(["evaluations", "rows", id])).out, /✓ ft:[\s\S]*✗ SmolLM2/);
  assertMatch((await cli.run(["evaluations", "list"])).out, /succeeded/);

  inference.answer = (request) =>
    complete([request.token.adapter === null ? "base" : "tuned", " answer"])(request);
  const both = await cli.run(["chat", tuned, "hello", "--base"]);
  assertEquals(both.out, `${base}\nbase answer\n\n${tuned}\ntuned answer\n`, both.err);
  const piped = await cli.run(["chat", base, "--system", "Be brief", "--temperature", "0"], {
    input: "hi\n",
  });
  assertEquals([piped.code, piped.out], [0, "base answer\n"]);
  assertEquals(inference.last.body.messages, [
    { role: "system", content: "Be brief" },
    { role: "user", content: "hi" },
  ]);
  inference.answer = complete(["half"], { end: "error" });
  const broken = await cli.run(["chat", base, "hi"]);
  assertEquals([broken.code, broken.out], [1, "half\n"]);
  assertMatch(broken.err, /error: /);
  const unknown = await cli.run(["chat", "ft:nobody", "hi"]);
  assertMatch(unknown.err, /is not available[\s\S]*tunebase models list/);
});
