/** Serving information in /models, warming a model, and /usage. */
import { assert, assertEquals, assertRejects } from "#assert";
import { complete, vllmError } from "../support/fake_inference.ts";
import { trainedJob } from "../support/fake_worker.ts";
import { startTunebase } from "../support/test_server.ts";
import { connect, unwrap } from "../../client/mod.ts";

const tunebase = await startTunebase();
Deno.test.afterAll(() => tunebase.close());
const { inference, sql } = tunebase;
const base = "SmolLM2-135M-Instruct";
const messages = [{ role: "user" as const, content: "hi" }];
const user = await tunebase.user();
const api = connect({ baseUrl: `${tunebase.url}/functions/v1/tunebase`, token: () => user.apiKey });
const tuned = (await trainedJob(tunebase, user)).fine_tuned_model ?? "";

const servable = async (id: string) => {
  const listed = unwrap(await api.GET("/models")).data.find((model) => model.id === id);
  const one = unwrap(await api.GET("/models/{id}", { params: { path: { id } } }));
  assertEquals([one.servable, one.servable_reason], [listed?.servable, listed?.servable_reason]);
  return one.servable_reason;
};

Deno.test("models show whether they can be called, and why not", async () => {
  assertEquals([await servable(base), await servable(tuned)], [null, null]);
  const model = unwrap(await api.GET("/models/{id}", { params: { path: { id: base } } }));
  assert("inference" in model);
  assertEquals([model.inference?.max_length, model.inference?.max_rank], [8192, 128]);
  await sql`update tunebase.base_models set inference_max_rank = 8`;
  assertEquals([await servable(base), await servable(tuned)], [
    null,
    "Its adapter has rank 16; the endpoint serves ranks up to 8.",
  ]);
  await sql`update tunebase.base_models set inference_max_rank = 16`;
  const setVariant = (variant: string) =>
    sql`update tunebase.adapters set manifest =
      jsonb_set(manifest, '{hyperparameters,lora_variant}', to_jsonb(${variant}::text)) where name = ${tuned}`;
  await setVariant("pissa");
  assertEquals(await servable(tuned), "Its adapter has rank 32; the endpoint serves ranks up to 16.");
  await setVariant("dora");
  assertEquals(
    await servable(tuned),
    "Its adapter uses DoRA and must be merged into the base model before serving.",
  );
  await setVariant("lora");
  assertEquals(await servable(tuned), null);
  await sql`update tunebase.base_models set inference_max_rank = 128, inference_endpoint_id = null`;
  const none = `This server has no inference endpoint for ${base}.`;
  assertEquals([await servable(base), await servable(tuned)], [none, none]);
  await sql`update tunebase.base_models set inference_endpoint_id = 'local-inference'`;
});

Deno.test("warming loads a model and returns whether it is ready", async () => {
  const warm = async (id: string) => {
    const response = await user.fetch(`/models/${encodeURIComponent(id)}/warm`, { method: "POST" });
    return { status: response.status, ...await response.json() };
  };
  assertEquals(await warm(tuned), { status: "ready", object: "model.warm", model: tuned });
  assertEquals([inference.last.path, inference.last.token.adapter?.rank], ["/v1/warm", 16]);
  inference.warm = () => new Response(null, { status: 204 });
  assertEquals((await warm(base)).status, "loading");
  inference.warm = () => vllmError(500, "boom");
  assertEquals((await warm(base)).error.code, "inference_unavailable");
  assertEquals((await warm("no-such-model")).error.code, "model_not_found");
  const [count] =
    await sql`select count(*)::int as n from tunebase.inference_requests where project_id = ${user.projectId}`;
  assertEquals(count?.n, 0, "it is free");
});

Deno.test("warming a model whose id has unescaped slashes works", async () => {
  const response = await user.fetch("/models/org/no-such/warm", { method: "POST" });
  const { error } = await response.json();
  assertEquals([response.status, error.code], [404, "model_not_found"]);
});

Deno.test("usage counts requests, tokens and cost by day, model and key", async () => {
  await sql`update tunebase.base_models set inference_usd_per_million_input_tokens = 1,
    inference_usd_per_million_output_tokens = 2`;
  inference.answer = complete(["a", "b", "c"]);
  await user.openai.chat.completions.create({ model: base, messages });
  await user.openai.chat.completions.create({ model: tuned, messages });
  await Array.fromAsync(await user.openai.chat.completions.create({ model: tuned, messages, stream: true }));
  const asUser = connect({
    baseUrl: `${tunebase.url}/functions/v1/tunebase`,
    token: () => user.accessToken,
  });
  const own = await user.fetch("/chat/completions", {
    method: "POST",
    headers: { authorization: `Bearer ${user.accessToken}` },
    body: JSON.stringify({ model: tuned, messages }),
  });
  assertEquals(own.status, 200);
  await own.body?.cancel();
  const { total, data } = unwrap(await asUser.GET("/usage"));
  const expected = {
    inference_requests: 4,
    prompt_tokens: 28,
    completion_tokens: 12,
    inference_cost_usd: 52e-6,
  };
  assertEquals(total, { ...total, ...expected });
  assertEquals(data.at(-1), { ...data.at(-1), ...expected });

  const by = async (group_by: "model" | "api_key") =>
    unwrap(await asUser.GET("/usage/inference", { params: { query: { group_by } } }));
  const models = await by("model");
  assertEquals(models.data.map(({ model, requests, cost_usd }) => [model, requests, cost_usd]), [
    [tuned, 3, 39e-6],
    [base, 1, 13e-6],
  ]);
  assertEquals([models.total.requests, models.total.cost_usd], [4, 52e-6]);
  const keys = await by("api_key");
  assertEquals(keys.data.map(({ api_key_name, requests }) => [api_key_name, requests]), [["test", 3], [
    null,
    1,
  ]]);
  const [project] = unwrap(await asUser.GET("/projects")).data;
  const one = unwrap(await asUser.GET("/projects/{id}", { params: { path: { id: project?.id ?? "" } } }));
  assertEquals(one.use?.spent_usd, 52e-6);
});

Deno.test("a day in a time zone has the requests of that day", async () => {
  await sql`update tunebase.inference_usage set quarter_hour = '2026-11-24 23:30+00' where project_id = ${user.projectId}
    and model = ${base}`;
  const day = async (time_zone: string) => {
    const { data } = unwrap(
      await api.GET("/usage", { params: { query: { from: "2026-11-24", to: "2026-11-25", time_zone } } }),
    );
    return data.map(({ inference_requests }) => inference_requests);
  };
  assertEquals([await day("UTC"), await day("Asia/Kathmandu")], [[1, 0], [0, 1]]);
});

Deno.test("the project's cap includes inference, and stops its jobs", async () => {
  await sql`update tunebase.base_models set gpu_config = gpu_config || '{"cost_per_gpu_hour": 60}'`;
  const { createJob } = await import("../support/fake_worker.ts");
  const other = await tunebase.user();
  const job = await createJob(other);
  await sql`insert into tunebase_internal.inference_spend values
    (${other.projectId}, date_trunc('month', now() at time zone 'utc'), 51)`;
  await tunebase.tick();
  const { status, error } = await other.openai.fineTuning.jobs.retrieve(job.id);
  assertEquals([status, error?.code], ["failed", "spend_cap"]);
});

Deno.test("requests are deleted after 30 days, but usage is kept", async () => {
  await sql`update tunebase.inference_requests set id =
      overlay(tunebase_internal.uuid7_lower_bound(now() - interval '31 days')::text placing right(id::text, 12) from 25)::uuid
    where project_id = ${user.projectId}`;
  await tunebase.tick();
  const [left] =
    await sql`select (select count(*)::int from tunebase.inference_requests where project_id = ${user.projectId})
      as requests, (select sum(requests)::int from tunebase.inference_usage where project_id = ${user.projectId}) as used`;
  assertEquals(left, { requests: 0, used: 4 });
});

Deno.test("members see their project's requests through the Data API's role only", async () => {
  await assertRejects(async () => {
    await sql.begin(async (transaction) => {
      await transaction`set local role anon`;
      await transaction`select * from tunebase.inference_requests`;
    });
  });
});
