/** What saves typing: stdin, `latest`, the beginning of a job's ID, `open`; and what comes after training: the manifest, `push`. */
import { createHash } from "node:crypto";
import { assert, assertEquals, assertMatch, assertStringIncludes } from "#assert";
import { nameCommands } from "../../cli/api/routes.ts";
import { join } from "../../local/paths.ts";
import { bundledCli, type CliResult, type Options } from "../support/cli_runner.ts";
import { startFakeHubRepositories } from "../support/fake_hub_repositories.ts";
import { createJob, FakeWorker, latestAttempt, rows, trainedJob } from "../support/fake_worker.ts";
import { startTunebase } from "../support/test_server.ts";

const dashboard = "https://tune.example.com/#";
const tunebase = await startTunebase({ TUNEBASE_DASHBOARD_URL: dashboard });
const { sql } = tunebase;
const user = await tunebase.user("ada@example.com");
await sql`update tunebase.projects set max_running = 100`;
const program = await bundledCli({
  TUNEBASE_BASE_URL: `${tunebase.url}/functions/v1/tunebase`,
  TUNEBASE_API_KEY: user.apiKey,
});
Deno.test.afterAll(async () => {
  await program.close();
  await tunebase.close();
});
const { home } = program;
const good = join(home, "rows.jsonl");
await Deno.writeTextFile(good, rows);

/** Runs the bundle under Node and checks its exit code. */
async function run(code: number, args: string[], options: Options = {}) {
  return checked(code, args, await program.run(args, options));
}
/** Runs the source in this process and checks its exit code. */
async function runHere(code: number, args: string[], env: Record<string, string> = {}) {
  return checked(code, args, await program.runHere(args, { env }));
}
function checked(code: number, args: string[], ran: CliResult): CliResult {
  assertEquals(ran.code, code, JSON.stringify({ args, ...ran }));
  return ran;
}
/** Runs it in this process with --json and returns the parsed output. */
const json = async (args: string[], env: Record<string, string> = {}) =>
  JSON.parse((await runHere(0, [...args, "--json"], env)).out);
const countFiles = async () => (await sql`select count(*)::int as n from tunebase.files`)[0]?.n;

Deno.test("every command that takes a file reads stdin", async () => {
  const { out } = await run(0, ["files", "upload", "-"], { input: rows });
  assertMatch(out, /^file-\w+ {2}stdin .* 2 rows/);
  const created = await run(0, ["jobs", "create", "-", "--yes", "--validation", good], { input: rows });
  assertMatch(created.out, /Created ftjob-/);
  const estimate = await run(0, ["estimate", "-", "--json"], { input: rows });
  assertEquals(JSON.parse(estimate.out).object, "fine_tuning.estimate");
  const csv = "prompt,completion\nhi,ok\n";
  const converted = await run(0, ["files", "convert", "-", "--to", "-"], { input: csv });
  assertEquals(JSON.parse(converted.out).messages.at(-1).content, "ok");
  assertStringIncludes((await run(1, ["files", "convert", "-"], { input: "{" })).err, "Cannot convert stdin");
  const [id = ""] = /file-\w+/.exec(out) ?? [];
  assertEquals((await runHere(0, ["files", "get", id, "-o", "-"])).out, rows);
  const tools = await run(2, ["chat", "m", "hi", "--tools", "-"], { input: "{}" });
  assertStringIncludes(tools.err, "stdin must be an array of tools");
  const twice = await runHere(2, ["jobs", "create", "-", "--yes", "--validation", "-"]);
  assertStringIncludes(twice.err, "Only one file can be read from stdin");
});

Deno.test("arguments are checked before anything is uploaded", async () => {
  const before = await countFiles();
  const missing = `file-${"0".repeat(32)}`;
  for (
    const [code, args, expected] of [
      [1, ["jobs", "create", good, "--yes", "--validation", missing], "Run `tunebase files list`"],
      [2, ["jobs", "create", good, "--yes", "--spend-cap", "0"], "an amount in dollars"],
      [2, ["jobs", "create", good, "--yes", "--push-to-hub", "support-bot"], "such as acme/support-bot"],
      [2, ["jobs", "create", good, "--yes", "--hub-public"], "--hub-public needs --push-to-hub"],
      [2, ["jobs", "create", good, "--yes", "--metadata", `k=${"v".repeat(513)}`], "512 characters"],
      [2, ["files", "upload", good, "--expires-after", "5m"], "from 1h to 30d"],
      [2, ["files", "upload", good, home], "is a directory"],
      [1, ["eval", "no-such-model", good, "--no-base"], "tunebase models list"],
      [
        2,
        ["eval", "m", good, "--regex", "(a"],
        '--regex "(a": it is not a valid RE2 regular expression (error',
      ],
    ] as [number, string[], string][]
  ) assertStringIncludes((await runHere(code, args)).err, expected);
  assertEquals(await countFiles(), before);
});

Deno.test("validate shows the distribution of lengths", async () => {
  const long = JSON.stringify({
    messages: [{ role: "user", content: "word ".repeat(900) }, { role: "assistant", content: "ok" }],
  });
  const { out } = await run(0, ["files", "validate", "-"], { input: `${rows}${long}\n` });
  assertMatch(out, /rows by length in tokens\n +1–\d+ {2}2 {2}█{40}\n/);
  assertMatch(out, /\n +[\d,]+–[\d,]+ {2}1 {2}█{20}\n/);
});

Deno.test("a job is found by the beginning of its ID, and as latest", async () => {
  const older = await createJob(user);
  const newer = await createJob(user);
  assertEquals((await json(["jobs", "get", "latest"])).id, newer.id);
  // UUIDv7: the first 12 digits are the time of creation.
  assertEquals((await json(["jobs", "get", older.id.slice(0, 26)])).id, older.id);
  assertEquals((await json(["jobs", "get", `${older.id.slice("ftjob-".length, 26)}…`])).id, older.id);
  const several = await runHere(2, ["jobs", "cancel", "ftjob-0"]);
  assertStringIncludes(several.err, "Several jobs' IDs begin with ftjob-0");
  assertStringIncludes(
    (await runHere(1, ["jobs", "get", "ftjob-ffff"])).err,
    "No job's ID begins with ftjob-ffff",
  );
  assertStringIncludes((await runHere(0, ["jobs", "cancel", "latest"])).out, `Cancelled ${newer.id}.`);
  assertStringIncludes(
    (await runHere(1, ["chat", "latest", "hi"])).err,
    `${newer.id} has no model: it is cancelled.`,
  );
});

Deno.test("open starts the browser with the job's page", async () => {
  const job = await createJob(user);
  const browser = join(home, "browser");
  await Deno.writeTextFile(browser, `#!/bin/sh\necho "$1" > "$0.opened"\n`, { mode: 0o755 });
  const { out } = await run(0, ["open", job.id.slice(0, 30)], { env: { BROWSER: browser } });
  assertEquals(out, `${dashboard}/jobs/${job.id}\n`);
  for (let i = 0; i < 100 && !await Deno.stat(`${browser}.opened`).catch(() => null); i++) {
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  assertEquals(await Deno.readTextFile(`${browser}.opened`), out);
  assertEquals((await json(["open"])).url, `${dashboard}/`);
  for (const url of ["file:///bin/sh", "--help", "javascript:alert(1)"]) {
    const wrong = await runHere(1, ["open"], { TUNEBASE_DASHBOARD_URL: url, BROWSER: browser });
    assertStringIncludes(wrong.err, "is not a web address");
  }
});

Deno.test("follow says what is being done after the last step", async () => {
  const job = await createJob(user);
  await tunebase.tick();
  const worker = new FakeWorker(tunebase, (await latestAttempt(tunebase, job)).id);
  await worker.claim();
  const following = program.start(["jobs", "follow", "latest"]);
  await following.says("started.");
  const last = { current_step: 12, current_epoch: 2, progress: 95 };
  await worker.report({ ...last, stage: "evaluating" });
  await following.says("comparing the base and the fine-tuned model");
  await worker.report({ ...last, stage: "uploading" });
  await following.says("uploading and verifying the adapter");
  await worker.finishWithAdapter();
  const { code, out, err } = await following.done;
  assertEquals(code, 0, err);
  assert(!/uploading and verifying.*step 12/.test(out), out);
  assertStringIncludes(err, "tunebase chat ft:");
});

Deno.test("the downloaded folder holds the manifest, and times leave out pauses", async () => {
  const job = await trainedJob(tunebase, user);
  const hour = 3600;
  // It was paused for an hour between two attempts.
  await sql`update tunebase.jobs set started_at = finished_at - interval '3 hours' where fine_tuned_model = ${job.fine_tuned_model}`;
  await sql`
    update tunebase.attempts set started_at = ended_at - interval '2 hours'
    where replace(job_id::text, '-', '') = ${job.id.replace("ftjob-", "")}`;
  const shown = await json(["jobs", "get", job.id]);
  assert(Math.abs(shown.running_seconds - 2 * hour) < 5, String(shown.running_seconds));
  assertMatch(
    (await runHere(0, ["jobs", "get", job.id])).out,
    /duration +2h 00m, and 1h 00m queued or paused/,
  );
  assertMatch((await runHere(0, ["jobs", "follow", job.id])).out, /Succeeded: .* {2}2h 00m {2}/);

  const { err } = await runHere(0, ["adapter", "download", job.id, "--dir", "adapter"]);
  assertStringIncludes(err, "All files match adapter/manifest.json");
  const manifest = JSON.parse(await Deno.readTextFile(join(home, "adapter/manifest.json")));
  for (const { path, sha256 } of manifest.files) {
    const bytes = await Deno.readFile(join(home, "adapter", path));
    assertEquals(createHash("sha256").update(bytes).digest("hex"), sha256);
  }
});

Deno.test("push uploads the adapter to the Hugging Face Hub with the user's token", async () => {
  const job = await createJob(user);
  await tunebase.tick();
  const worker = new FakeWorker(tunebase, (await latestAttempt(tunebase, job)).id);
  await worker.claim();
  const bytes = new TextEncoder().encode("weights");
  const files = ["adapter_model.safetensors", "samples.json"].map((path) => FakeWorker.file(path, bytes));
  for (const file of files) {
    await worker.upload(file.path, bytes);
    await worker.verify(file);
  }
  await worker.succeed(files);
  const hub = startFakeHubRepositories({ partBytes: 3 });
  const push = ["adapter", "push", job.id];
  const env = { HF_ENDPOINT: hub.url, HF_TOKEN: "hf_write" };
  try {
    const { out, err } = await run(0, [...push, "support-bot"], { env });
    assertStringIncludes(out, `to ${hub.url}/ada/support-bot`);
    assertStringIncludes(err, "The repository is private.");
    const repository = hub.repositories.get("ada/support-bot");
    assert(repository !== undefined);
    assertEquals([repository.private, repository.commits], [true, [`Upload the adapter of ${job.id}`]]);
    assert(hub.requests.some((request) => request.endsWith("/complete")), "in parts");
    await runHere(0, ["adapter", "download", job.id, "--dir", "pushed"]);
    const names = [...Deno.readDirSync(join(home, "pushed"))].map(({ name }) => name).sort();
    assertEquals([...repository.files.keys()].sort(), names);
    for (const name of names) {
      assertEquals(repository.files.get(name), await Deno.readFile(join(home, "pushed", name)));
    }
    // The same again: the Hub has the large files already.
    hub.requests.length = 0;
    const again = await json([...push, "ada/support-bot"], env);
    assertEquals(again.repository, "ada/support-bot");
    assertEquals(hub.requests.filter((request) => request.includes("/storage/")), []);

    // Somebody has made it public.
    repository.private = false;
    assertStringIncludes(
      (await runHere(1, [...push, "support-bot"], env)).err,
      "ada/support-bot is a public repository. Add --public",
    );
    assertEquals(repository.commits.length, 2);
    assert(names.includes("samples.json"), "has rows of the dataset");
    await runHere(0, [...push, "open", "--public"], env);
    const open = hub.repositories.get("ada/open")?.files.keys() ?? [];
    assertEquals([...open].sort(), names.filter((name) => name !== "samples.json"));

    const readOnly = await runHere(1, [...push, "x"], { ...env, HF_TOKEN: "hf_wrong" });
    assertStringIncludes(readOnly.err, "The token is not valid");
    assert(!`${readOnly.out}${readOnly.err}`.includes("hf_wrong"));
    assertStringIncludes(
      (await runHere(2, [...push, "x"], { HF_ENDPOINT: hub.url, HF_TOKEN: "" })).err,
      "HF_TOKEN",
    );
    assertStringIncludes((await runHere(2, [...push, "a/b/c"], env)).err, "is not the name of a repository");
    assertStringIncludes((await runHere(2, [...push, "a--b"], env)).err, 'or contain ".." or "--"');
  } finally {
    await hub.close();
  }
});

Deno.test("messages name commands instead of routes", () => {
  assertEquals(
    nameCommands("This job was not found. See GET /fine_tuning/jobs."),
    "This job was not found. Run `tunebase jobs list`.",
  );
  assertEquals(
    nameCommands("See GET /files/{id} for the errors. Or POST /projects/{id}/restore."),
    "Run `tunebase files get` for the errors. Or POST /projects/{id}/restore.",
  );
});
