/** `store: true`: completions are stored only if an owner allows it, listed by OpenAI's SDK, and exported as a training file. */
import { assert, assertEquals, assertRejects, assertStringIncludes } from "#assert";
import OpenAI from "openai";
import { complete, type InferenceRequest } from "../support/fake_inference.ts";
import { startTunebase, type TestUser } from "../support/test_server.ts";

const tunebase = await startTunebase();
Deno.test.afterAll(() => tunebase.close());
const { inference, sql } = tunebase;
const model = "SmolLM2-135M-Instruct";
const tools = [{ type: "function" as const, function: { name: "order", parameters: { type: "object" } } }];

const project = (user: TestUser) => `proj_${user.projectId.replaceAll("-", "")}`;
const update = async (user: TestUser, body: unknown) => {
  const response = await user.fetch(`/projects/${project(user)}`, {
    method: "POST",
    headers: { authorization: `Bearer ${user.accessToken}` },
    body: JSON.stringify(body),
  });
  return await response.json();
};
async function storingUser(): Promise<TestUser> {
  const user = await tunebase.user();
  assertEquals((await update(user, { store_completions: true })).store_completions, true);
  return user;
}
const ask = (user: TestUser, content: string, metadata: Record<string, string> = {}, store = true) =>
  user.openai.chat.completions.create({ model, messages: [{ role: "user", content }], store, metadata });
const list = async (user: TestUser, query: OpenAI.Chat.ChatCompletionListParams = {}) =>
  await Array.fromAsync(user.openai.chat.completions.list(query));
const fromCompletions = async (user: TestUser, body: unknown = {}) => {
  const response = await user.fetch("/files/from_completions", {
    method: "POST",
    body: JSON.stringify(body),
  });
  return { status: response.status, ...await response.json() };
};
const rowsOf = async (user: TestUser, id: string) =>
  (await (await user.openai.files.content(id)).text()).trim().split("\n").map((line) => JSON.parse(line));

Deno.test("storing is off until an owner turns it on, as the error explains", async () => {
  const user = await tunebase.user();
  inference.answer = complete(["Fine"]);
  const error = await assertRejects(() => ask(user, "hi"), OpenAI.BadRequestError);
  assertEquals([error.code, error.param], ["store_not_enabled", "store"]);
  assertStringIncludes(error.message, `POST /projects/${project(user)} with {"store_completions": true}`);
  await ask(user, "hi", {}, false);
  assertEquals(await list(user), []);
  const changed = await update(user, { store_completions: true, completion_retention_days: 7 });
  assertEquals([changed.store_completions, changed.completion_retention_days], [true, 7]);
  await ask(user, "kept");
  await ask(user, "not kept", {}, false);
  const [stored, ...more] = await list(user);
  assertEquals([more.length, stored?.choices[0]?.message.content], [0, "Fine"]);
  const [row] =
    await sql`select extract(epoch from expires_at - created_at)::int as seconds from tunebase.stored_completions
    where project_id = ${user.projectId}`;
  assertEquals(row?.seconds, 7 * 86_400);
});

Deno.test("a streamed answer is stored like a complete one, including tool calls", async () => {
  const user = await storingUser();
  const call = { id: "call_1", type: "function", function: { name: "order", arguments: '{"id": 7}' } };
  const choice = { index: 0, logprobs: null, finish_reason: "tool_calls" };
  const usage = { prompt_tokens: 1, completion_tokens: 2, total_tokens: 3 };
  const whole = ({ body }: InferenceRequest) =>
    Response.json({
      id: "x",
      object: "chat.completion",
      created: 5,
      model: body.model,
      choices: [{
        ...choice,
        message: { role: "assistant", content: null, tool_calls: [call], refusal: null },
      }],
      usage,
    });
  const streamed = ({ body }: InferenceRequest) => {
    const chunk = (choices: unknown[]) =>
      `data: ${
        JSON.stringify({
          id: "x",
          object: "chat.completion.chunk",
          created: 5,
          model: body.model,
          choices,
          usage,
        })
      }\n\n`;
    const delta = (tool_call: unknown, finish_reason: string | null = null) =>
      chunk([{ ...choice, finish_reason, delta: { tool_calls: [tool_call] } }]);
    return new Response(
      delta({ index: 0, ...call, function: { name: "order", arguments: "" } }) +
        delta({ index: 0, function: { arguments: '{"id":' } }) +
        delta({ index: 0, function: { arguments: " 7}" } }, "tool_calls") + chunk([]) + "data: [DONE]\n\n",
      { headers: { "content-type": "text/event-stream" } },
    );
  };
  const body = { model, messages: [{ role: "user" as const, content: "Where is 7?" }], tools, store: true };
  inference.answer = whole;
  await user.openai.chat.completions.create(body);
  inference.answer = streamed;
  await Array.fromAsync(await user.openai.chat.completions.create({ ...body, stream: true }));
  const [first, second] = await list(user);
  assertEquals(first?.choices[0]?.message.tool_calls as unknown, [call]);
  assertEquals(second?.choices[0]?.message.tool_calls as unknown, [call]);
  assertEquals([first?.usage?.total_tokens, second?.usage?.total_tokens], [3, 3]);
  const file = await fromCompletions(user);
  const expected = {
    messages: [...body.messages, { role: "assistant", content: null, tool_calls: [call] }],
    tools,
  };
  assertEquals(await rowsOf(user, file.id), [expected, expected]);
});

Deno.test("the SDK lists, filters, gets and deletes them", async () => {
  const user = await storingUser();
  inference.answer = complete(["ok"]);
  const made: string[] = [];
  for (const [content, team] of [["a", "x"], ["b", "y"], ["c", "x"]] as const) {
    made.push((await ask(user, content, { team, kind: "test" })).id);
  }
  const ids = async (query?: OpenAI.Chat.ChatCompletionListParams) =>
    (await list(user, query)).map(({ id }) => id);
  assertEquals(await ids({ limit: 2 }), made, "pages of two, oldest first");
  assertEquals(await ids({ order: "desc" }), made.toReversed());
  assertEquals(await ids({ metadata: { team: "x" } }), [made[0], made[2]]);
  assertEquals(await ids({ model: "another" }), []);
  const [first = "", second = ""] = made;
  const one = await user.openai.chat.completions.retrieve(first);
  assertEquals([one.id, one.model, one.choices[0]?.message.content], [first, model, "ok"]);
  const { data } = await user.openai.chat.completions.messages.list(first);
  assertEquals(data.map(({ role, content }) => [role, content]), [["user", "a"]]);
  assertEquals((await user.openai.chat.completions.delete(second)).deleted, true);
  await assertRejects(() => user.openai.chat.completions.retrieve(second), OpenAI.NotFoundError);
  const other = await tunebase.user();
  await assertRejects(() => other.openai.chat.completions.retrieve(first), OpenAI.NotFoundError);
  await assertRejects(() => other.openai.chat.completions.delete(first), OpenAI.NotFoundError);
  await sql`update tunebase.stored_completions set expires_at = now() where project_id = ${user.projectId}`;
  assertEquals(await ids(), [], "expired ones are gone at once");
  await tunebase.tick();
  const [left] =
    await sql`select count(*)::int as n from tunebase.stored_completions where project_id = ${user.projectId}`;
  assertEquals(left?.n, 0);
});

Deno.test("matching completions become a training file; none is an error", async () => {
  const user = await storingUser();
  const none = await fromCompletions(user);
  assertEquals([none.status, none.error.code], [400, "no_completions_found"]);
  inference.answer = complete(["Blue"]);
  await ask(user, "Color?", { rating: "good" });
  await ask(user, "Colour?", { rating: "bad" });
  const file = await fromCompletions(user, { metadata: { rating: "good" }, filename: "good.jsonl" });
  assertEquals([file.purpose, file.filename, file.status], ["fine-tune", "good.jsonl", "processed"]);
  assertEquals(await rowsOf(user, file.id), [{
    messages: [{ role: "user", content: "Color?" }, { role: "assistant", content: "Blue" }],
  }]);
  assertEquals(
    (await rowsOf(user, (await fromCompletions(user, { limit: 1 })).id))[0].messages[0].content,
    "Colour?",
  );
  const soon = Math.floor(Date.now() / 1000) + 60;
  assertEquals((await fromCompletions(user, { after: soon })).error.code, "no_completions_found");
  assertEquals((await rowsOf(user, (await fromCompletions(user, { before: soon })).id)).length, 2);
  // A truncated answer would teach the model to stop in the wrong place.
  await sql`delete from tunebase.stored_completions where project_id = ${user.projectId}`;
  inference.answer = async (request) => {
    const answer = await (await complete(["Bl"])(request)).text();
    return new Response(answer.replace('"finish_reason":"stop"', '"finish_reason":"length"'));
  };
  await ask(user, "Color?");
  assertEquals((await list(user)).length, 1);
  assertEquals((await fromCompletions(user)).error.code, "no_completions_found");
});

Deno.test("a developer message becomes a system message, which training files have", async () => {
  const user = await storingUser();
  inference.answer = complete(["Fine"]);
  await user.openai.chat.completions.create({
    model,
    messages: [{ role: "developer", content: "Be brief" }, { role: "user", content: "hi" }],
    store: true,
  });
  const { status, id } = await fromCompletions(user);
  assertEquals(status, "processed");
  const [row] = await rowsOf(user, id);
  assertEquals(row.messages.map(({ role, content }: { role: string; content: string }) => [role, content]), [
    ["system", "Be brief"],
    ["user", "hi"],
    ["assistant", "Fine"],
  ]);
});

Deno.test("many completions become a file that is validated in the background", async () => {
  const user = await storingUser();
  inference.answer = complete(["word ".repeat(20_000)]);
  for (let i = 0; i < 45; i++) await ask(user, `question ${i}`);
  const file = await fromCompletions(user);
  assertEquals(file.status, "uploaded", JSON.stringify(file).slice(0, 300));
  for (let i = 0; i < 20 && (await user.openai.files.retrieve(file.id)).status === "uploaded"; i++) {
    await tunebase.tick();
  }
  const { status, bytes } = await user.openai.files.retrieve(file.id);
  assertEquals(status, "processed");
  assert(bytes > 4 * 2 ** 20);
});

Deno.test("a failed or cancelled request stores nothing", async () => {
  const user = await storingUser();
  inference.answer = complete(["a"], { end: "lost" });
  const answer = await user.openai.chat.completions.create({
    model,
    messages: [{ role: "user", content: "x" }],
    store: true,
    stream: true,
  });
  await assertRejects(() => Array.fromAsync(answer));
  assertEquals(await list(user), []);
});
