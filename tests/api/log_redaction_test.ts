/** A complete job with failures leaves no secret, data or signed URL in any log. */
import { assert, assertEquals } from "#assert";
import { callbackSecret, deriveSecret } from "../../supabase/functions/_shared/secrets.ts";
import { startTunebase } from "../support/test_server.ts";
import { FakeWorker, latestAttempt } from "../support/fake_worker.ts";

const lines: string[] = [];
for (const name of ["log", "info", "warn", "error", "debug"] as const) {
  console[name] = (...values: unknown[]) =>
    void lines.push(values.map((value) => Deno.inspect(value)).join(" "));
}
const tunebase = await startTunebase();
Deno.test.afterAll(() => tunebase.close());
const { sql, keys } = tunebase;
const ada = await tunebase.user();
const base = `${tunebase.url}/functions/v1/tunebase`;

Deno.test("logs contain no key, token, secret, dataset row or signed URL", async () => {
  const marker = "Zanzibar-4711-Quokka";
  const row = JSON.stringify({
    messages: [{ role: "user", content: marker }, { role: "assistant", content: "ok" }],
  });
  const secrets: Record<string, string> = {
    "the API key": ada.apiKey,
    "the access token": ada.accessToken,
    "the master key": keys.masterKey,
    "Supabase's secret key": keys.secretKey,
    "RunPod's key": keys.runpodKey,
    "a database password": "only-for-tests",
    "Storage's secret": keys.storageSecret,
    "the scheduler's secret": deriveSecret(keys.masterKey, "scheduler"),
    "a row of the data": marker,
    "an idempotency key": "idempotency-1-Quokka",
    "an invited address": "quokka@elsewhere.example",
  };

  // The complete flow.
  const file = await ada.openai.files.create({
    file: new File([`${row}\n${row}\n`], "r.jsonl"),
    purpose: "fine-tune",
  });
  const made = await ada.fetch("/fine_tuning/jobs", {
    method: "POST",
    headers: { "idempotency-key": secrets["an idempotency key"] ?? "" },
    body: JSON.stringify({
      model: "SmolLM2-135M-Instruct",
      training_file: file.id,
      metadata: { note: marker },
    }),
  });
  const job = await made.json();
  assertEquals(made.status, 200);
  await tunebase.tick();
  const attempt = await latestAttempt(tunebase, job);
  secrets["the attempt's callback secret"] = callbackSecret(keys.masterKey, attempt.id);
  secrets["the token of RunPod's webhook"] = deriveSecret(
    keys.masterKey,
    `runpod-webhook/${attempt.id}`,
  );
  const worker = new FakeWorker(tunebase, attempt.id);
  const claim = await worker.claim();
  const dataset = /"dataset_url":"([^"]+)"/.exec(JSON.stringify(claim))?.[1] ?? "";
  assert(dataset.includes("token="), "the worker was given a signed URL");
  secrets["the dataset's signed token"] = dataset.split("token=")[1] ?? "";
  await worker.checkpoint(3, { events: [{ level: "info", message: `read ${marker}` }] });
  await worker.finishWithAdapter();
  const adapter = await (await ada.fetch(`/fine_tuning/jobs/${job.id}/adapter`)).json();
  secrets["the adapter's signed token"] = new URL(adapter.files[0].url).searchParams.get("token") ?? "";
  await (await ada.fetch(`/files/${file.id}/content`)).body?.cancel();

  // User errors and failures.
  const asUser = { authorization: `Bearer ${ada.accessToken}` };
  const keyAnswer = await (await ada.fetch("/api_keys", {
    method: "POST",
    headers: { ...asUser, "idempotency-key": secrets["an idempotency key"] ?? "" },
    body: JSON.stringify({ name: marker }),
  })).json();
  secrets["a key that was just made"] = keyAnswer.key;
  const project = `proj_${ada.projectId.replaceAll("-", "")}`;
  const wrong: [string, RequestInit][] = [
    [`/projects/${project}/members`, {
      method: "POST",
      headers: asUser,
      body: JSON.stringify({ email: secrets["an invited address"], role: "viewer" }),
    }],
    [`/files/${ada.apiKey}`, {}],
    [`/nothing/${ada.accessToken}`, {}],
    [`/files?after=${marker}&api_key=${ada.apiKey}`, {}],
    ["/fine_tuning/jobs", { method: "POST", body: `{"model": "${marker}` }],
    ["/fine_tuning/jobs", {
      method: "POST",
      body: JSON.stringify({ model: marker, training_file: ada.apiKey }),
    }],
    ["/fine_tuning/jobs", { headers: { authorization: `Bearer ${ada.apiKey}x` } }],
    ["/fine_tuning/jobs", { headers: { authorization: `Bearer ${ada.accessToken}x` } }],
    ["/models", { headers: { "openai-project": marker, ...asUser } }],
  ];
  for (const [path, init] of wrong) await (await ada.fetch(path, init)).body?.cancel();
  const form = new FormData();
  form.append("purpose", "fine-tune");
  form.append("file", new File([`${row}\n${marker} is no JSON\n`], "r.jsonl"));
  await (await ada.fetch("/files", { method: "POST", body: form })).body?.cancel();
  const hook = `${tunebase.url}/functions/v1/tunebase-callback/runpod/${attempt.id}`;
  for (const token of [secrets["the token of RunPod's webhook"], marker]) {
    await (await fetch(`${hook}/${token}`, { method: "POST", body: marker })).body?.cancel();
  }
  await (await worker.send("report", { note: marker }, `whsec_${btoa(marker)}`)).body?.cancel();
  await (await worker.send("report", { note: marker })).body?.cancel();
  await sql`alter function tunebase_internal.get_file(jsonb, uuid) rename to get_file_gone`;
  const broken = await fetch(`${base}/files/${file.id}`, {
    headers: { authorization: `Bearer ${ada.apiKey}` },
  });
  await broken.body?.cancel();
  assertEquals(broken.status, 500);
  await sql`update tunebase.files set object = 'gone' where id = ${file.id.replace("file-", "")}`;
  await sql`alter function tunebase_internal.get_file_gone(jsonb, uuid) rename to get_file`;
  await (await ada.fetch(`/files/${file.id}/content`)).body?.cancel();

  const log = [...tunebase.logs.map((entry) => JSON.stringify(entry)), ...lines];
  assert(log.length >= 25, `${log.length} lines`);
  assert(
    log.some((line) => line.includes('"status":500') && line.includes("get_file")),
    "what broke is there",
  );
  assert(log.some((line) => line.includes('"status":503')), "and what Storage did not do");
  assert(log.some((line) => line.includes("/tunebase/fine_tuning/jobs/:id/adapter")));
  for (const [what, secret] of Object.entries(secrets)) {
    assert(secret.length >= 10, `${what} is not known to the test`);
    const found = log.filter((line) => line.includes(secret));
    assertEquals(found, [], `${what} is in the log`);
  }
  assertEquals(log.filter((line) => /token=|[?&]X-Amz|Bearer |whsec_|eyJ[A-Za-z0-9_-]{20}/.test(line)), []);
});
