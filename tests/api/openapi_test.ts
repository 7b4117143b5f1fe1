/** The OpenAPI document matches the API: routes, scopes, errors and examples; and its generated client works. */
import { assert, assertEquals, assertRejects, assertStringIncludes } from "#assert";
import { ApiError, connect, unwrap } from "../../client/mod.ts";
import { createKey } from "../../local/stack/account.ts";
import { projectVersion } from "../../local/generate/version.ts";
import { createApp } from "../../supabase/functions/tunebase/app.ts";
import { errorsOf, openApi } from "../../supabase/functions/tunebase/openapi/document.ts";
import { DatasetReport } from "../../supabase/functions/tunebase/openapi/dataset_report.ts";
import { allRoutes, resources } from "../../supabase/functions/tunebase/routes/index.ts";
import { scopes } from "../../supabase/functions/_shared/contracts/scopes.ts";
import { errorCodes } from "../../supabase/functions/_shared/contracts/error_codes.ts";
import { parseOrThrow } from "../../supabase/functions/_shared/validation.ts";
import { startTunebase } from "../support/test_server.ts";
import { createJob, rows } from "../support/fake_worker.ts";

const routes = await allRoutes();
const tunebase = await startTunebase();
Deno.test.afterAll(() => tunebase.close());

Deno.test("routes have unique method and path, and unique names", () => {
  const addresses = routes.map(({ method, path }) => `${method} ${path.replace(/\{\w+\}/g, "{}")}`);
  assertEquals(new Set(addresses).size, addresses.length);
  assertEquals(new Set(routes.map(({ id }) => id)).size, routes.length);
});

Deno.test("a resource has exactly the routes under its path", async () => {
  for (const { segments, load } of resources) {
    const loaded = (await load()).map(({ path }) => path.split("/")[1] ?? "");
    assertEquals(new Set(loaded), new Set(segments));
  }
});

Deno.test("routes require credentials unless declared public", async () => {
  const app = createApp(tunebase.platform);
  const open: string[] = [];
  for (const { method, path, id } of routes) {
    const response = await app.request(`/tunebase${path.replace(/\{\w+\}/g, "x")}`, { method });
    const { error } = response.status === 401 ? await response.json() : { error: null };
    await response.body?.cancel().catch(() => {});
    if (error?.code !== "missing_api_key") open.push(id);
  }
  assertEquals(open, routes.filter(({ scope }) => scope === "none").map(({ id }) => id));
});

Deno.test("every client-facing error is documented", () => {
  const described = new Set<string>(routes.flatMap(errorsOf));
  // Errors of undocumented routes, and of the trainer's.
  const elsewhere = ["route_not_found", "method_not_allowed", "invalid_signature"];
  assertEquals(Object.keys(errorCodes).filter((code) => !described.has(code)).sort(), elsewhere.sort());
});

Deno.test("every example body is valid", () => {
  for (const { body, example } of routes) {
    if (body !== undefined) parseOrThrow(body, example ?? {});
  }
});

Deno.test("an operation requires exactly its declared scope", async () => {
  const user = await tunebase.user();
  const keyWith = async (...granted: string[]) => {
    const key = await createKey(tunebase, user.id, "k");
    await tunebase.sql`update tunebase.api_keys set scopes = ${granted} where hint = ${`${key.slice(0, 6)}…${
      key.slice(-4)
    }`}`;
    return key;
  };
  const keys = new Map(
    await Promise.all(scopes.map(async (scope) =>
      [scope, {
        only: await keyWith(scope),
        other: await keyWith(...scopes.filter((one) => one !== scope)),
      }] as const
    )),
  );
  const wrong: string[] = [];
  for (const { method, path, scope, body, form, example } of routes) {
    if (scope === "none" || scope === "any" || scope === "user" || scope === "operator") continue;
    const id = "0".repeat(31) + "1";
    const send = async (key: string) => {
      const response = await fetch(`${tunebase.url}/functions/v1/tunebase${path.replace(/\{\w+\}/g, id)}`, {
        method,
        headers: {
          authorization: `Bearer ${key}`,
          ...(body === undefined ? {} : { "content-type": "application/json" }),
        },
        body: form !== undefined
          ? formWith("purpose", "fine-tune")
          : body === undefined
          ? null
          : JSON.stringify(example ?? {}),
      });
      const text = await response.text();
      return text.includes("insufficient_scope") ? /the scope .*?\\"(.*?)\\"/.exec(text)?.[1] ?? text : null;
    };
    const which = keys.get(scope);
    assert(which !== undefined);
    const [other, only] = [await send(which.other), await send(which.only)];
    if (other !== scope) wrong.push(`${method} ${path}: without ${scope} it says ${other}`);
    if (only !== null) wrong.push(`${method} ${path}: with ${scope} alone it wants ${only}`);
  }
  assertEquals(wrong, []);
});

function formWith(name: string, value: string): FormData {
  const made = new FormData();
  made.set(name, value);
  return made;
}

Deno.test("GET /openapi.json returns the document with this server's URL; GET /docs renders it", async () => {
  const base = `${tunebase.url}/functions/v1/tunebase`;
  const document = await (await fetch(`${base}/openapi.json`)).json();
  assertEquals(document.servers, [{ url: base }]);
  assertEquals({ ...document, servers: null }, {
    ...JSON.parse(JSON.stringify(openApi(await projectVersion()))),
    servers: null,
  });
  const docs = await fetch(`${base}/docs`);
  assertStringIncludes(docs.headers.get("content-type") ?? "", "text/html");
  const page = await docs.text();
  for (const { method, path } of routes) {
    assertStringIncludes(page, `<h3>${method} ${path}</h3>`);
  }
});

Deno.test("file validation reports match the document", async () => {
  const user = await tunebase.user();
  const file = await user.openai.files.create({ file: new File([rows], "rows.jsonl"), purpose: "fine-tune" });
  const shown = await (await user.fetch(`/files/${file.id}`)).json();
  assertEquals(DatasetReport.parse(shown.report), shown.report);
});

Deno.test("GET /docs is plain text where the platform does not serve HTML", async () => {
  const hosted = { ...tunebase.platform.settings, supabaseUrl: "https://abc.supabase.co" };
  const app = createApp({ ...tunebase.platform, settings: hosted });
  const docs = await app.request("/tunebase/docs");
  assertStringIncludes(docs.headers.get("content-type") ?? "", "text/plain");
  assertStringIncludes(await docs.text(), "### POST /fine_tuning/jobs\n");
});

Deno.test("the generated client has typed responses, and errors with code and field", async () => {
  const user = await tunebase.user();
  const job = await createJob(user);
  const api = connect({ baseUrl: `${tunebase.url}/functions/v1/tunebase`, token: () => user.apiKey });
  const list = unwrap(
    await api.GET("/fine_tuning/jobs", { params: { query: { limit: 5, status: "queued" } } }),
  );
  assertEquals(list.data.map(({ id, status }) => [id, status]), [[job.id, "queued"]]);
  const refusal = await assertRejects(async () =>
    unwrap(
      await api.POST("/fine_tuning/jobs", {
        body: {
          model: "SmolLM2-135M-Instruct",
          training_file: list.data[0]?.training_file ?? "",
          hyperparameters: { lora_rank: 1000 },
        },
      }),
    )
  );
  assert(refusal instanceof ApiError);
  assertEquals([refusal.code, refusal.status, refusal.problem.error.param], [
    "invalid_request",
    400,
    "hyperparameters.lora_rank",
  ]);
});
