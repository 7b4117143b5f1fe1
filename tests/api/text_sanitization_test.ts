/** NUL and lone surrogates: rejected in client requests, sanitized in worker and RunPod messages, never a 500. */
import { assert, assertEquals, assertRejects, assertStringIncludes } from "#assert";
import { sanitizeFilename } from "../../supabase/functions/tunebase/file_upload.ts";
import { webhookUrl } from "../../supabase/functions/_shared/urls.ts";
import { startTunebase } from "../support/test_server.ts";
import { createJob, FakeWorker, latestAttempt, rows } from "../support/fake_worker.ts";

const tunebase = await startTunebase();
Deno.test.afterAll(() => tunebase.close());
const { sql } = tunebase;
const user = await tunebase.user();
const asUser = { authorization: `Bearer ${user.accessToken}` };
const file = await user.openai.files.create({ file: new File([rows], "a.jsonl"), purpose: "fine-tune" });
await sql`update tunebase.api_keys set scopes = tunebase_internal.scopes()`;

async function refused(response: Response, param: string): Promise<void> {
  const body = await response.json();
  assertEquals([response.status, body.error.param], [400, param], JSON.stringify(body));
  assert(/NUL character|half of a character/.test(body.error.message), body.error.message);
}
const post = (path: string, body: string, headers: Record<string, string> = {}) =>
  user.fetch(path, { method: "POST", body, headers: { "content-type": "application/json", ...headers } });

// Escaped, as in JSON.
for (const [what, bad] of [["NUL", "\\u0000"], ["a lone surrogate", "\\ud83d"]] as const) {
  Deno.test(`${what} in a JSON body is a 400 that names the field on every route`, async () => {
    const job = (more: string) => `{"model":"SmolLM2-135M-Instruct","training_file":"${file.id}",${more}}`;
    await refused(await post("/fine_tuning/jobs", job(`"metadata":{"k":"a${bad}"}`)), "metadata.k");
    await refused(await post("/fine_tuning/jobs", job(`"metadata":{"k${bad}":"a"}`)), "metadata.k\ufffd");
    await refused(
      await post("/fine_tuning/jobs", `{"model":"x${bad}","training_file":"${file.id}"}`),
      "model",
    );
    await refused(await post("/fine_tuning/estimates", job(`"suffix":"x${bad}"`)), "suffix");
    await refused(await post("/projects", `{"name":"x${bad}"}`, asUser), "name");
    await refused(await post("/api_keys", `{"name":"k","scopes":["files:read${bad}"]}`, asUser), "scopes.0");
    await refused(
      await post("/files/direct", `{"filename":"${bad}","bytes":5,"purpose":"fine-tune"}`),
      "filename",
    );
    await refused(
      await post("/uploads", `{"filename":"a","bytes":5,"purpose":"fine-tune","mime_type":"${bad}"}`),
      "mime_type",
    );
    await refused(
      await post("/webhook_endpoints", `{"name":"${bad}","url":"https://example.com/x","event_types":[]}`),
      "name",
    );
  });
}

Deno.test("NUL in a query or path is a 400 that names it", async () => {
  await refused(await user.fetch("/fine_tuning/jobs?metadata[k%00]=v"), "metadata[k\ufffd]");
  await refused(await user.fetch("/fine_tuning/jobs?metadata[k]=%00"), "metadata[k]");
  await refused(await user.fetch("/fine_tuning/jobs?model=x%00"), "model");
  await refused(await user.fetch("/files?purpose=%00"), "purpose");
  await refused(await user.fetch("/models/a%00b"), "path");
  assertEquals((await user.fetch("/fine_tuning/jobs?model=%F0%9F%98%80")).status, 200);
  assertEquals((await user.fetch("/models/100%25")).status, 404);
});

Deno.test("NUL in a form's field, field name or file name is a 400 that names it", async () => {
  const boundary = "boundary-of-the-test";
  const form = (name: string, field: string, value: string) =>
    `--${boundary}\r\ncontent-disposition: form-data; name="file"; filename="${name}"\r\n\r\n${rows}\r\n` +
    `--${boundary}\r\ncontent-disposition: form-data; name="${field}"\r\n\r\n${value}\r\n--${boundary}--\r\n`;
  const send = (body: string) =>
    user.fetch("/files", {
      method: "POST",
      body,
      headers: { "content-type": `multipart/form-data; boundary=${boundary}` },
    });
  assertEquals((await send(form("a.jsonl", "purpose", "fine-tune"))).status, 200);
  await refused(await send(form("a.jsonl", "purpose", "fine\0tune")), "purpose");
  // In a part's headers, the form parser rejects it and names the part.
  for (const bad of [form("a\0.jsonl", "purpose", "fine-tune"), form("a.jsonl", "pur\0pose", "fine-tune")]) {
    const response = await send(bad);
    const { error } = await response.json();
    assertEquals([response.status, error.code], [400, "invalid_multipart"]);
  }
});

Deno.test("a long file name is truncated between characters", async () => {
  const name = `a${"😀".repeat(130)}.jsonl`;
  const made = await user.openai.files.create({ file: new File([rows], name), purpose: "fine-tune" });
  assertEquals(made.filename, name);
  assertEquals(sanitizeFilename("😀".repeat(300)), "😀".repeat(255));
});

Deno.test("a worker report with NUL and a lone surrogate is sanitized and accepted once", async () => {
  const job = await createJob(user);
  await tunebase.tick();
  const attempt = await latestAttempt(tunebase, job);
  const worker = new FakeWorker(tunebase, attempt.id);
  await worker.claim();
  await worker.report({ events: [{ level: "info", message: "before\0after \ud83d" }] });
  const events = await sql`select message from tunebase.events where job_id = ${attempt.job_id}`;
  assert(events.some(({ message }) => message === "before\ufffdafter \ufffd"), JSON.stringify(events));
});

Deno.test("a report with an out-of-range number is a 400, and so is a webhook without an attempt", async () => {
  const job = await createJob(user);
  await tunebase.tick();
  const attempt = await latestAttempt(tunebase, job);
  const worker = new FakeWorker(tunebase, attempt.id);
  await worker.claim();
  for (
    const [what, param] of [
      [{ current_step: 2 ** 31 }, "current_step"],
      [{ seconds_left: 1e300 }, "seconds_left"],
      [{ current_epoch: 1e300 }, "current_epoch"],
      [{ metrics: [FakeWorker.metric(2 ** 31, 1)] }, "metrics.0.step"],
    ] as const
  ) {
    const error = await assertRejects(() => worker.report(what));
    assertStringIncludes(String(error), "report: 400");
    assertStringIncludes(String(error), `"param":"${param}"`);
  }
  const url = webhookUrl({ ...tunebase.platform.settings }, "abc");
  const response = await fetch(url, { method: "POST", body: "{}" });
  assertEquals(response.status, 400);
  assertStringIncludes((await response.json()).error.message, "must be the UUID of an attempt");
});
