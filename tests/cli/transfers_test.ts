/** The CLI on unreliable networks: uploads and downloads resume, and streams reconnect. */
import { createHash } from "node:crypto";
import { gzipSync } from "node:zlib";
import { assert, assertEquals, assertMatch, assertStringIncludes } from "#assert";
import { join } from "../../local/paths.ts";
import { startFaultyProxy } from "../support/faulty_proxy.ts";
import { bundledCli, type CliProcess } from "../support/cli_runner.ts";
import { startTunebase } from "../support/test_server.ts";
import { createJob, FakeWorker, latestAttempt } from "../support/fake_worker.ts";

// All requests pass through the faulty proxy, including Storage's: the server returns URLs with its address.
const proxy = await startFaultyProxy();
const smallBytes = 65_536;
const tunebase = await startTunebase({
  SUPABASE_URL: proxy.url,
  TUNEBASE_MAX_UPLOAD_BYTES: String(smallBytes),
});
proxy.target = tunebase.url;
const user = await tunebase.user();
const program = await bundledCli({
  TUNEBASE_BASE_URL: `${proxy.url}/functions/v1/tunebase`,
  TUNEBASE_API_KEY: user.apiKey,
});
Deno.test.afterAll(async () => {
  await program.close();
  await proxy.close();
  await tunebase.close();
});
const { home, run, runHere, start } = program;
Deno.test.beforeEach(() => {
  proxy.fault = null;
  proxy.requests.length = 0;
});

const row = (question: string) =>
  JSON.stringify({ messages: [{ role: "user", content: question }, { role: "assistant", content: "ok" }] });
/** Rows of about `bytes` in total. */
const rowsOf = (bytes: number) =>
  Array.from({ length: Math.ceil(bytes / 1000) }, (_, i) => row(`${i} ${"word ".repeat(180)}`)).join("\n");
const chunkBytes = 6 * 2 ** 20;

/** Runs the scheduler until the process ends. */
async function ticking({ done }: CliProcess) {
  let ended = false;
  const end = done.finally(() => ended = true);
  while (!ended) {
    await tunebase.tick();
    await Promise.race([end, new Promise((resolve) => setTimeout(resolve, 50))]);
  }
  return await end;
}

const patches = () =>
  proxy.requests.filter(({ method, path }) => method === "PATCH" && path.includes("/upload/resumable"))
    .map(({ headers }) => Number(headers.get("upload-offset")));

Deno.test("a large file goes to Storage, and an interrupted upload resumes with the next call", async () => {
  const text = rowsOf(chunkBytes * 1.1);
  await Deno.writeTextFile(join(home, "large.jsonl"), text);
  // The second chunk is blocked until the first call is stopped.
  const held = Promise.withResolvers<void>();
  const release = Promise.withResolvers<void>();
  proxy.fault = ({ method, headers }) => {
    if (method !== "PATCH" || headers.get("upload-offset") === "0") return;
    held.resolve();
    return { holdUntil: release.promise };
  };
  const first = start(["files", "upload", "large.jsonl"]);
  await Promise.race([
    held.promise,
    first.done.then((ran) => Promise.reject(new Error(JSON.stringify(ran)))),
  ]);
  first.child.kill("SIGINT");
  const stopped = await first.done;
  assertEquals(stopped.code, 130, JSON.stringify(stopped));
  assertStringIncludes(stopped.err, "Run the same command again to resume the upload.");
  proxy.fault = null;
  release.resolve();
  proxy.requests.length = 0;

  const { code, out, err } = await ticking(start(["files", "upload", "large.jsonl", "--json"]));
  assertEquals(code, 0, err);
  assertStringIncludes(err, "Resuming the upload of large.jsonl");
  assertEquals(patches(), [chunkBytes]);
  const file = JSON.parse(out);
  assertEquals([file.status, file.bytes], ["processed", text.length]);
  assertEquals(file.sha256, createHash("sha256").update(text).digest("hex"));
});

Deno.test("a failed chunk is retried within one call", async () => {
  await Deno.writeTextFile(join(home, "broken.jsonl"), rowsOf(chunkBytes * 1.1));
  let breaks = 0;
  proxy.fault = ({ method, headers }) =>
    method === "PATCH" && headers.get("upload-offset") !== "0" && breaks++ === 0
      ? { status: 503 }
      : undefined;
  const { code, out, err } = await ticking(start(["files", "upload", "broken.jsonl"]));
  assertEquals(code, 0, err);
  assertMatch(out, /^file-\w+ {2}broken\.jsonl/);
  assertEquals(patches(), [0, chunkBytes, chunkBytes]);
});

Deno.test("a large gzip file is decompressed while it uploads", async () => {
  const text = rowsOf(smallBytes * 4);
  await Deno.writeFile(join(home, "packed.jsonl.gz"), gzipSync(text));
  const { code, out, err } = await ticking(start(["files", "upload", "packed.jsonl.gz", "--json"]));
  assertEquals(code, 0, err);
  const file = JSON.parse(out);
  assertEquals([file.filename, file.bytes], ["packed.jsonl", text.length]);
});

Deno.test("a large file with invalid rows is reported locally and not uploaded", async () => {
  await Deno.writeTextFile(join(home, "wrong.jsonl"), `${rowsOf(smallBytes * 4)}\n{"messages": 3}`);
  const { code, out, err } = await runHere(["files", "upload", "wrong.jsonl"]);
  assertEquals(code, 1);
  assertMatch(out, /line \d+: messages/);
  assertStringIncludes(err, "wrong.jsonl was not uploaded");
  assertEquals(proxy.requests.filter(({ path }) => path.includes("/files/direct")), []);
});

Deno.test("a failed request is retried and creates one job", async () => {
  const file = (await createJob(user)).training_file;
  const creates: (string | null)[] = [];
  proxy.fault = ({ method, path, headers }) => {
    if (method !== "POST" || !path.endsWith("/fine_tuning/jobs")) return;
    creates.push(headers.get("idempotency-key"));
    // The request succeeded, but the response is lost.
    return creates.length > 1 ? undefined : { truncateAfter: 0 };
  };
  const before = await tunebase.sql`select 1 from tunebase.jobs`;
  const { code, err } = await run(["jobs", "create", file, "--yes", "--json"]);
  assertEquals(code, 0, err);
  assertEquals(creates.length, 2);
  assertEquals(creates[0], creates[1]);
  assertEquals((await tunebase.sql`select 1 from tunebase.jobs`).length, before.length + 1);
});

const weights = new Uint8Array(3_000_000).map((_, i) => (i * 7919) % 251);
const config = new TextEncoder().encode('{"r": 16}');

/** A job with an adapter of two files. */
async function trained() {
  const job = await createJob(user);
  await tunebase.tick();
  const worker = new FakeWorker(tunebase, (await latestAttempt(tunebase, job)).id);
  await worker.claim();
  await worker.checkpoint(2);
  const files = [
    FakeWorker.file("adapter_model.safetensors", weights),
    FakeWorker.file("tokenizer/config.json", config),
  ];
  for (const [i, file] of files.entries()) {
    await worker.upload(file.path, i === 0 ? weights : config);
    await worker.verify(file);
  }
  await worker.succeed(files);
  return job;
}
const job = await trained();
const isWeights = ({ method, path }: { method: string; path: string }) =>
  method === "GET" && path.startsWith("/storage/") && path.includes("safetensors");
const ranges = () => proxy.requests.filter(isWeights).map(({ headers }) => headers.get("range"));
const saved = (folder: string) => Deno.readFile(join(home, folder, "adapter_model.safetensors"));
const entries = async (folder: string) =>
  (await Array.fromAsync(Deno.readDir(join(home, folder)))).map(({ name }) => name).sort();

Deno.test("an adapter is downloaded and verified, and not downloaded again", async () => {
  const { code, out, err } = await run(["adapter", "download", job.id]);
  assertEquals(code, 0, err);
  assertMatch(out, /downloaded +adapter-ftjob-\w+\/adapter_model\.safetensors {2}3\.0 MB {2}sha256 \w{64}/);
  assertEquals(await saved(`adapter-${job.id}`), weights);
  assertEquals(await Deno.readFile(join(home, `adapter-${job.id}`, "tokenizer/config.json")), config);
  proxy.requests.length = 0;
  const again = await runHere(["adapter", "download", job.id]);
  assertStringIncludes(again.out, "unchanged  ");
  assertEquals(ranges(), []);
  const json = await runHere(["adapter", "download", job.id, "--json"]);
  assertEquals(JSON.parse(json.out).object, "fine_tuning.job.adapter");
});

Deno.test("an interrupted download resumes by range in the same call", async () => {
  let breaks = 0;
  proxy.fault = (request) => isWeights(request) && breaks++ < 2 ? { truncateAfter: 1_000_000 } : undefined;
  const { code, err } = await run(["adapter", "download", job.id, "--dir", "broken"]);
  assertEquals(code, 0, err);
  assertEquals(await saved("broken"), weights);
  const [first, second, third] = ranges();
  assertEquals(first, null);
  const at = (range?: string | null) => Number(/^bytes=(\d+)-$/.exec(range ?? "")?.[1]);
  assert(at(second) > 0 && at(third) > at(second), JSON.stringify(ranges()));
});

Deno.test("a killed download resumes with the next call", async () => {
  await Deno.mkdir(join(home, "killed"));
  await Deno.writeFile(join(home, "killed/adapter_model.safetensors.part"), weights.subarray(0, 1_234_567));
  const { code, err } = await run(["adapter", "download", job.id, "--dir", "killed"]);
  assertEquals(code, 0, err);
  assertEquals(ranges(), ["bytes=1234567-"]);
  assertEquals(await saved("killed"), weights);
  assertEquals(await entries("killed"), ["adapter_model.safetensors", "manifest.json", "tokenizer"]);
});

Deno.test("an expired download link is renewed", async () => {
  let refused = 0;
  proxy.fault = (request) => isWeights(request) && refused++ === 0 ? { status: 400 } : undefined;
  const { code, err } = await runHere(["adapter", "download", job.id, "--dir", "expired"]);
  assertEquals(code, 0, err);
  assertEquals(proxy.requests.filter(({ path }) => path.endsWith("/adapter")).length, 2);
});

Deno.test("a file with a wrong hash is rejected and removed", async () => {
  proxy.fault = (request) => isWeights(request) ? { corrupt: true } : undefined;
  const { code, err, out } = await runHere(["adapter", "download", job.id, "--dir", "wrong"]);
  assertEquals(code, 1);
  assertEquals(out, "");
  assertMatch(err, /adapter_model\.safetensors is damaged and was removed: got 3000000 bytes with SHA-256/);
  assertEquals(await entries("wrong"), []);
});

Deno.test("checkpoint files can be downloaded, and a job without an adapter is an error", async () => {
  const { data: [checkpoint] } = await user.openai.fineTuning.jobs.checkpoints.list(job.id);
  const { code, out } = await runHere([
    "adapter",
    "download",
    job.id,
    "--checkpoint",
    checkpoint?.id ?? "",
    "--dir",
    "checkpoint",
  ]);
  assertEquals(code, 0);
  assertStringIncludes(out, "checkpoint/trainer_state.json");
  const other = await createJob(user);
  const { code: refused, err } = await runHere(["adapter", "download", other.id]);
  assertEquals(refused, 1);
  assertStringIncludes(err, "The adapter is available once the job has succeeded.");
});

Deno.test("follow reconnects a broken stream without missing or repeating events", async () => {
  const watched = await createJob(user);
  await tunebase.tick();
  const worker = new FakeWorker(tunebase, (await latestAttempt(tunebase, watched)).id);
  await worker.claim();
  const streams: (string | null)[] = [];
  proxy.fault = ({ headers }) => {
    if (headers.get("accept") !== "text/event-stream") return;
    streams.push(headers.get("last-event-id"));
    // The first stream breaks after its first event.
    return streams.length > 1 ? undefined : { truncateAfter: 120 };
  };
  const following = start(["jobs", "follow", watched.id]);
  await following.says("Fine-tuning job started.");
  for (const message of ["one", "two", "three"]) {
    await worker.report({ events: [{ level: "info", message: `event ${message}` }] });
  }
  await following.says("event three");
  await worker.finishWithAdapter();
  const { code, out, err } = await following.done;
  assertEquals(code, 0, err);
  assertEquals(out.match(/event \w+/g), ["event one", "event two", "event three"]);
  assertStringIncludes(err, "Connection lost");
  assert(streams.length >= 2, JSON.stringify(streams));
});

Deno.test("doctor detects clock skew", async () => {
  const date = new Date(Date.now() - 600_000).toUTCString();
  proxy.fault = ({ path }) => path.endsWith("/health") ? { headers: { date } } : undefined;
  const { code, out } = await runHere(["doctor"]);
  assertEquals(code, 1, out);
  assertMatch(out, /FAIL {2}clock: \d+ s ahead of the server's clock\n +Synchronize this machine's clock/);
});
