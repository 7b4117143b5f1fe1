/** Every response: request id, headers, log line; unknown routes, oversized bodies, CORS. */
import { assert, assertEquals, assertStringIncludes } from "#assert";
import type { Database } from "../../supabase/functions/_shared/database/connect.ts";
import { createApp } from "../../supabase/functions/tunebase/app.ts";
import { allRoutes } from "../../supabase/functions/tunebase/routes/index.ts";
import { startTunebase } from "../support/test_server.ts";
import { createJob, rows } from "../support/fake_worker.ts";

const tunebase = await startTunebase();
Deno.test.afterAll(() => tunebase.close());
const ada = await tunebase.user();
const base = `${tunebase.url}/functions/v1/tunebase`;
const job = await createJob(ada);
/** The log line of the request with this id. */
const lineOf = (id: string) => tunebase.logs.filter(({ request_id }) => request_id === id);

Deno.test("a client's request id is returned and logged; an invalid one is replaced", async () => {
  const mine = await ada.fetch("/models", { headers: { "x-request-id": "trace-1.a:b_C" } });
  await mine.body?.cancel();
  assertEquals(mine.headers.get("x-request-id"), "trace-1.a:b_C");
  assertEquals(lineOf("trace-1.a:b_C").length, 1);
  for (const bad of ["with space", "x".repeat(129), 'quote"', "<script>"]) {
    const other = await ada.fetch("/nothing", { headers: { "x-request-id": bad } });
    const body = await other.json();
    assert(/^req_[0-9a-f]{32}$/.test(other.headers.get("x-request-id") ?? ""));
    assertEquals(body.request_id, other.headers.get("x-request-id"));
  }
});

Deno.test("each request logs one JSON line with route, status and duration, without path, query or body", async () => {
  const response = await ada.fetch(`/fine_tuning/jobs/${job.id}?token=s3cret`, {
    headers: { "x-request-id": "line-1" },
  });
  await response.body?.cancel();
  const [line, ...more] = lineOf("line-1");
  assertEquals(more, []);
  const { ms, ...rest } = line ?? { level: "error", msg: "" };
  assertEquals(rest, {
    level: "info",
    msg: "request",
    function: "tunebase",
    request_id: "line-1",
    method: "GET",
    route: "/tunebase/fine_tuning/jobs/:id",
    status: 200,
    project_id: ada.projectId,
    caller: "api_key",
  });
  assert(typeof ms === "number" && ms >= 0);
  await (await ada.fetch("/nothing/s3cret", { headers: { "x-request-id": "line-2" } })).body?.cancel();
  assertEquals([lineOf("line-2")[0]?.route, lineOf("line-2")[0]?.code], [null, "route_not_found"]);
});

Deno.test("internal errors are logged with their cause and returned without it", async () => {
  const platform = {
    ...tunebase.platform,
    db: answering(() => Promise.resolve('{"granted": "s3cret"}')),
    log: (entry: unknown) => void lines.push(entry),
  };
  const lines: unknown[] = [];
  const response = await createApp(platform).request("/tunebase/models", {
    headers: { authorization: `Bearer ${ada.apiKey}` },
  });
  const body = await response.json();
  assertEquals([response.status, body.error.code], [500, "internal"]);
  assert(!JSON.stringify(body).includes("tunebase_internal.take_rate_limit_tokens"));
  assertEquals(lines.length, 1);
  assertStringIncludes(
    JSON.stringify(lines[0]),
    "tunebase_internal.take_rate_limit_tokens returned an unexpected result",
  );
  assertStringIncludes(JSON.stringify(lines[0]), '"level":"error"');
  assert(!JSON.stringify(lines).includes("s3cret"));
});

Deno.test("an unresponsive database is a 503, with the cause only in the log", async () => {
  const lines: unknown[] = [];
  const platform = {
    ...tunebase.platform,
    db: answering(() => Promise.reject(new Error("connect ECONNREFUSED 10.0.0.7:5432"))),
    log: (entry: unknown) => void lines.push(entry),
  };
  const response = await createApp(platform).request("/tunebase/models", {
    headers: { authorization: `Bearer ${ada.apiKey}` },
  });
  const text = await response.text();
  assertEquals([response.status, JSON.parse(text).error.code], [503, "database_unavailable"]);
  assert(!text.includes("10.0.0.7"));
  assertStringIncludes(JSON.stringify(lines), "connect ECONNREFUSED 10.0.0.7:5432");
});

function answering(value: Database["value"]): Database {
  return { value, close: () => Promise.resolve() };
}

const gets = (await allRoutes()).filter(({ method }) => method === "GET")
  .map(({ path }) => path.replace(/\{(\w+)\}/g, ":$1"));
for (const path of new Set(gets)) {
  Deno.test(`HEAD ${path} returns GET's headers without a body`, async () => {
    const file = await ada.openai.files.create({ file: new File([rows], "r.jsonl"), purpose: "fine-tune" });
    const ids: Record<string, string> = {
      files: file.id,
      fine_tuning: job.id,
      models: "SmolLM2-135M-Instruct",
      projects: `proj_${ada.projectId.replaceAll("-", "")}`,
    };
    const filled = path.replace(":id", ids[path.split("/")[1] ?? ""] ?? "none");
    const headers = { authorization: `Bearer ${ada.accessToken}` };
    const [get, head] = await Promise.all(
      ["GET", "HEAD"].map((method) => ada.fetch(filled, { method, headers })),
    );
    await get?.body?.cancel();
    assertEquals([head?.status, await head?.text()], [get?.status, ""]);
    assertEquals(head?.headers.get("content-type"), get?.headers.get("content-type"));
    if (get?.status === 200 && !path.endsWith("/adapter")) {
      assertEquals(head?.headers.get("etag"), get?.headers.get("etag"));
    }
  });
}

Deno.test("HEAD of an event stream ends immediately", async () => {
  const head = await ada.fetch(`/fine_tuning/jobs/${job.id}/events`, {
    method: "HEAD",
    headers: { accept: "text/event-stream" },
  });
  assertEquals([head.status, head.headers.get("content-type"), await head.text()], [
    200,
    "text/event-stream",
    "",
  ]);
});

Deno.test("an unsupported method lists the allowed ones", async () => {
  for (
    const [method, path, allow] of [
      ["PUT", "/files", "POST, GET, HEAD, OPTIONS"],
      ["PATCH", `/projects/proj_${"0".repeat(32)}`, "GET, HEAD, POST, OPTIONS"],
      ["PUT", "/models/a%2Fb", "GET, HEAD, DELETE, OPTIONS"],
      // Literal, so that it does not match `/files/{id}`.
      ["GET", "/files/direct", "POST, OPTIONS"],
      ["DELETE", "/webhook_endpoints/discard", "POST, OPTIONS"],
    ] as const
  ) {
    const response = await ada.fetch(path, { method });
    const body = await response.json();
    assertEquals([response.status, body.error.code, response.headers.get("allow")], [
      405,
      "method_not_allowed",
      allow,
    ]);
    const options = await fetch(`${base}${path}`, { method: "OPTIONS" });
    await options.body?.cancel();
    assertEquals([options.status, options.headers.get("allow")], [204, allow], path);
  }
  for (const method of ["OPTIONS", "PUT"]) {
    for (const path of ["/nothing", "/files/a/b/c"]) {
      const response = await fetch(`${base}${path}`, { method });
      assertEquals([response.status, (await response.json()).error.code], [404, "route_not_found"], path);
    }
  }
});

Deno.test("CORS allows every header that the SDKs and this API use", async () => {
  const preflight = await fetch(`${base}/fine_tuning/jobs`, {
    method: "OPTIONS",
    headers: {
      origin: "https://a.example",
      "access-control-request-method": "POST",
      "access-control-request-headers": "authorization",
    },
  });
  await preflight.body?.cancel();
  assertEquals([preflight.status, preflight.headers.get("access-control-max-age")], [204, "7200"]);
  const list = (name: string, response = preflight) =>
    (response.headers.get(name) ?? "").split(",").map((one) => one.trim());
  for (
    const name of [
      "authorization content-type idempotency-key if-match if-none-match last-event-id openai-organization",
      "openai-project x-request-id x-stainless-lang x-stainless-package-version x-stainless-os x-stainless-arch",
      "x-stainless-runtime x-stainless-runtime-version x-stainless-retry-count x-stainless-timeout",
      "x-stainless-helper-method",
    ].join(" ").split(" ")
  ) assert(list("access-control-allow-headers").includes(name), name);
  for (const name of ["GET", "HEAD", "POST", "DELETE"]) {
    assert(list("access-control-allow-methods").includes(name), name);
  }
  // Errors must be readable too: without these headers, a browser hides the response from the page.
  for (const path of ["/models", "/nothing", `/files/file-${"0".repeat(32)}`]) {
    const response = await ada.fetch(path, { headers: { origin: "https://a.example" } });
    await response.body?.cancel();
    assertEquals(response.headers.get("access-control-allow-origin"), "*", path);
    for (const name of ["x-request-id", "etag", "ratelimit", "retry-after", "x-should-retry"]) {
      assert(list("access-control-expose-headers", response).includes(name), `${path} ${name}`);
    }
  }
});

Deno.test("rejects an oversized body with the limit, with or without Content-Length", async () => {
  const large = "x".repeat(2 ** 20 + 1);
  const streamed = new Blob([large]).stream();
  for (const body of [large, streamed]) {
    const response = await ada.fetch("/fine_tuning/jobs", { method: "POST", body });
    const problem = await response.json();
    assertEquals([response.status, problem.error.code], [413, "too_large"]);
    assertStringIncludes(problem.detail, "1048576 bytes");
  }
  const least = await ada.fetch("/fine_tuning/jobs", { method: "POST", body: " ".repeat(2 ** 20) });
  assertEquals((await least.json()).error.code, "invalid_request", "as much as is allowed is read");
});

Deno.test("unchanged jobs and files are a 304", async () => {
  const file = await ada.openai.files.create({ file: new File([rows], "r.jsonl"), purpose: "fine-tune" });
  for (const path of [`/files/${file.id}`, `/fine_tuning/jobs/${job.id}`, "/fine_tuning/jobs", "/models"]) {
    const first = await ada.fetch(path);
    await first.body?.cancel();
    const etag = first.headers.get("etag") ?? "";
    assert(/^"[0-9a-f]+"$/.test(etag), etag);
    assertEquals(first.headers.get("cache-control"), "private, no-cache");
    const again = await ada.fetch(path, { headers: { "if-none-match": `"other", W/${etag}` } });
    assertEquals([again.status, await again.text()], [304, ""], path);
    assert(again.headers.get("x-request-id") && again.headers.get("ratelimit"));
  }
  const before = (await ada.fetch(`/fine_tuning/jobs/${job.id}`)).headers.get("etag") ?? "";
  await ada.openai.fineTuning.jobs.cancel(job.id);
  const after = await ada.fetch(`/fine_tuning/jobs/${job.id}`, { headers: { "if-none-match": before } });
  await after.body?.cancel();
  assertEquals(after.status, 200, "what has changed is sent");
});
