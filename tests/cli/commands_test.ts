/** The CLI against a complete test server: every command as users run it, the bundle under Node; its variants in this process. */
import { gzipSync } from "node:zlib";
import { assert, assertEquals, assertMatch, assertStringIncludes } from "#assert";
import type { Command } from "commander";
import { Webhook } from "standardwebhooks";
import { createProgram } from "../../cli/program.ts";
import { freePort, root } from "../../local/state_dir.ts";
import { join } from "../../local/paths.ts";
import { validate } from "../../supabase/functions/_shared/datasets/validator.ts";
import { bundledCli, type CliResult, type Options } from "../support/cli_runner.ts";
import { startTunebase } from "../support/test_server.ts";
import { createJob, FakeWorker, latestAttempt, rows, trainedJob } from "../support/fake_worker.ts";

const tunebase = await startTunebase();
const { sql } = tunebase;
const user = await tunebase.user("ada@example.com");
await sql`update tunebase.projects set max_running = 1000`;
await sql`update tunebase.api_keys set scopes = tunebase_internal.scopes() where project_id = ${user.projectId}`;
const baseUrl = `${tunebase.url}/functions/v1/tunebase`;
const program = await bundledCli({ TUNEBASE_BASE_URL: baseUrl, TUNEBASE_API_KEY: user.apiKey });
Deno.test.afterAll(async () => {
  await program.close();
  await tunebase.close();
});
const { home, start } = program;
const path = (name: string) => join(home, name);
const write = async (name: string, content: string | Uint8Array) => {
  await Deno.writeFile(path(name), typeof content === "string" ? new TextEncoder().encode(content) : content);
  return path(name);
};
const good = await write("rows.jsonl", rows);
const bad = await write("bad.jsonl", `${rows}{"messages": []}\nnot json\n`);

/** Runs the bundle under Node and checks its exit code. */
async function run(code: number, args: string[], options: Options = {}): Promise<CliResult> {
  return checked(code, args, await program.run(args, options));
}
/** Runs the source in this process and checks its exit code. */
async function runHere(code: number, args: string[], env: Record<string, string> = {}): Promise<CliResult> {
  return checked(code, args, await program.runHere(args, { env }));
}
function checked(code: number, args: string[], ran: CliResult): CliResult {
  assertEquals(ran.code, code, JSON.stringify({ args, ...ran }));
  return ran;
}
/** Runs it in this process with --json and returns the parsed output. */
async function json(args: string[], env: Record<string, string> = {}) {
  return JSON.parse((await runHere(0, [...args, "--json"], env)).out);
}
async function running() {
  const job = await createJob(user);
  await tunebase.tick();
  const worker = new FakeWorker(tunebase, (await latestAttempt(tunebase, job)).id);
  await worker.claim();
  return { job, worker };
}
/** A URL where nothing listens. */
const nowhere = `http://127.0.0.1:${freePort(0, "")}`;
const loggedOut = { TUNEBASE_BASE_URL: "", TUNEBASE_API_KEY: "" };

Deno.test("every command has --help, and --version matches the package", async () => {
  const { out } = await run(0, ["--help"]);
  assertStringIncludes(out, "Exit codes: 0 success");
  for (const group of ["files", "jobs", "adapter", "keys", "models", "webhooks"]) {
    assertStringIncludes((await runHere(0, [group, "--help"])).out, `Usage: tunebase ${group}`);
  }
  const manifest = JSON.parse(
    await Deno.readTextFile(new URL("../../cli/npm/package.json", import.meta.url)),
  );
  assertEquals((await run(0, ["--version"])).out.trim(), manifest.version);
  assertEquals((await runHere(0, ["version"])).out.trim(), manifest.version);
});

Deno.test("every command and option in the documentation exists", async () => {
  const known = commandsOf(createProgram());
  const wrong: string[] = [];
  for (const page of ["README.md", "docs/cli.md", "docs/webhooks.md"]) {
    const text = await Deno.readTextFile(join(root, page));
    for (const [line] of text.matchAll(/(?<=^|[`(])tunebase [a-z][^`\n|&)]*/gm)) {
      const words = line.trim().split(/\s+/).slice(1);
      const options = known.get(words.slice(0, 2).join(" ")) ?? known.get(words[0] ?? "");
      const unknown = words.filter((word) => word.startsWith("--") && !options?.includes(word));
      if (options === undefined || unknown.length > 0) wrong.push(`${page}: ${line}`);
    }
  }
  assertEquals(wrong, []);
});

/** Every leaf command with its options. */
function commandsOf(command: Command, path = ""): Map<string, string[]> {
  if (command.commands.length === 0) {
    return new Map([[path, [...command.options.flatMap(({ long }) => long ?? []), "--help"]]]);
  }
  return new Map(command.commands.flatMap((one) => [...commandsOf(one, `${path} ${one.name()}`.trim())]));
}

Deno.test("usage errors exit with 2 and suggest the correct form", async () => {
  const { out, err } = await run(2, ["jobs", "lst"]);
  assertEquals(out, "");
  assertStringIncludes(err, "Did you mean list?");
  assert(!err.includes("    at "), err);
  for (
    const [args, expected] of [
      [["jobs", "list", "--limt", "3"], "Did you mean --limit?"],
      [["jobs", "create"], "missing required argument 'training-file'"],
      [["jobs", "list", "--limit", "many"], "It must be a whole number"],
      [["jobs", "list", "--status", "done"], "Allowed choices are validating_files, queued"],
      [["jobs", "create", "x", "--set", "lora_alpha"], "It must have the form name=value."],
      [["completion", "tcsh"], "Allowed choices are bash, zsh, fish."],
    ] as [string[], string][]
  ) {
    const { out, err } = await runHere(2, args);
    assertEquals(out, "");
    assertStringIncludes(err, expected);
    assert(!err.includes("    at "), err);
  }
  assertStringIncludes((await runHere(2, [])).err, "Usage: tunebase");
});

Deno.test("login stores a verified key with owner-only permissions, logout removes it, whoami shows it", async () => {
  const env = { ...loggedOut, XDG_CONFIG_HOME: path("config") };
  const stored = path("config/tunebase/config.json");
  assertStringIncludes((await runHere(1, ["whoami"], env)).err, "Run `tunebase login`");
  const wrong = await run(1, ["login", "--base-url", tunebase.url], { env, input: "tb_wrong\n" });
  assertStringIncludes(wrong.err, "This API key does not exist");
  assertEquals(await Deno.stat(stored).catch(() => null), null);

  // The project's URL suffices, and the key comes from stdin.
  const { out } = await run(0, ["login", "--base-url", tunebase.url], { env, input: `${user.apiKey}\n` });
  assertStringIncludes(out, `Logged in to ${baseUrl}`);
  assertEquals(((await Deno.stat(stored)).mode ?? 0) & 0o777, 0o600);
  assertEquals(((await Deno.stat(path("config/tunebase"))).mode ?? 0) & 0o777, 0o700);
  assertStringIncludes((await run(0, ["whoami"], { env })).out, "project:admin");
  assertEquals((await json(["whoami"], env)).object, "me");

  // The stored key is not sent to another server.
  const other = await runHere(1, ["whoami"], { ...env, TUNEBASE_BASE_URL: nowhere });
  assertStringIncludes(other.err, "the stored key belongs to");
  await run(0, ["logout"], { env });
  await runHere(1, ["whoami"], env);
});

Deno.test("login prompts for the key in a terminal without echoing it", async () => {
  const env = { ...loggedOut, XDG_CONFIG_HOME: path("asked") };
  const { out } = await run(0, ["login", "--base-url", tunebase.url], {
    env,
    input: `${user.apiKey}\n`,
    terminal: true,
  });
  assertStringIncludes(out, "API key (hidden):");
  assert(!out.includes(user.apiKey), out);
});

Deno.test("validate gives the API's report offline", async () => {
  const env = { ...loggedOut, TUNEBASE_BASE_URL: nowhere };
  const { out, err } = await run(1, ["files", "validate", bad], { env });
  assertStringIncludes(out, "invalid  ");
  assertStringIncludes(out, "line 3: messages");
  assertStringIncludes(out, "line 4:");
  assertStringIncludes(err, "not a valid training file");
  const bytes = await Deno.readFile(bad);
  const report = JSON.parse((await runHere(1, ["files", "validate", bad, "--json"], env)).out);
  assertEquals(report, JSON.parse(JSON.stringify(validate(bytes))));
  const refused = await runHere(1, ["files", "upload", bad]);
  for (const { what } of report.errors) assertStringIncludes(refused.err, what);

  const packed = await write("rows.jsonl.gz", gzipSync(rows));
  assertStringIncludes((await run(0, ["files", "validate", good, packed], { env })).out, "valid  ");
  assertStringIncludes((await run(0, ["files", "validate", "-"], { env, input: rows })).out, "valid  stdin");
  const cut = await write("cut.jsonl.gz", gzipSync(rows.repeat(50)).subarray(0, 60));
  assertStringIncludes((await run(1, ["files", "validate", cut], { env })).err, "damaged or truncated");
  assertStringIncludes(
    (await runHere(1, ["files", "validate", "none.jsonl"])).err,
    "none.jsonl does not exist.",
  );
  assertStringIncludes((await runHere(1, ["files", "validate", home])).err, "is a directory");
});

Deno.test("validate uses constant memory", async () => {
  // Not resourceUsage().maxRSS: a child inherits its parent's.
  const hook = await write(
    "peak.cjs",
    'process.on("exit", () => process.stderr.write(require("fs").readFileSync("/proc/self/status", "utf8")))',
  );
  // Short rows, so that keeping a little of each shows.
  const row = rows.split("\n")[0] ?? "";
  const most = async (copies: number) => {
    await write("long.jsonl", `${row}\n`.repeat(copies));
    const { out, err } = await run(0, ["files", "validate", "long.jsonl", "--json"], {
      env: { ...loggedOut, NODE_OPTIONS: `--require="${hook}"` },
    });
    assertEquals(JSON.parse(out).rows, copies);
    await Deno.remove(path("long.jsonl"));
    return Number(/VmHWM:\s+(\d+) kB/.exec(err)?.[1]) / 1000;
  };
  // 48 and 144 MB: both exceed what the garbage collector leaves uncollected. Keeping the input would take 96 MB more.
  const [short, long] = [await most(600_000), await most(1_800_000)];
  assert(long - short < 64, `${short} MB, ${long} MB`);
});

Deno.test("files can be uploaded, listed, shown, downloaded and deleted", async () => {
  const { out } = await run(0, ["files", "upload", good, path("rows.jsonl.gz"), "--expires-after", "1h"]);
  const ids = out.match(/file-\w+/g) ?? [];
  assertEquals(ids.length, 2);
  const [id = ""] = ids;
  assertStringIncludes((await run(0, ["files", "list"])).out, id);
  assertEquals((await json(["files", "list", "--limit", "1"])).data.length, 1);
  assertStringIncludes(
    (await runHere(0, ["files", "list", "--limit", "1"])).err,
    "For more, add --after file-",
  );
  assertStringIncludes((await runHere(0, ["files", "get", id])).out, "processed");
  const file = JSON.parse((await run(0, ["files", "get", id, "-o", "copy.jsonl", "--json"])).out);
  assertEquals(file.expires_at - file.created_at, 3600);
  assertEquals(await Deno.readTextFile(path("copy.jsonl")), rows);
  assertEquals((await json(["files", "delete", id])).deleted, true);
  const { err } = await runHere(1, ["files", "get", id]);
  assertMatch(err, /^error: .*file/);
  assertStringIncludes(err, "`tunebase files list`");
});

Deno.test("models lists models, and estimate creates no job", async () => {
  assertStringIncludes((await runHere(0, ["models", "list"])).out, "SmolLM2-135M-Instruct");
  assertEquals((await json(["models", "list"])).object, "list");
  const before = await sql`select count(*) from tunebase.jobs`;
  const { out } = await run(0, ["estimate", good, "--epochs", "3", "--set", "lora_alpha=32"]);
  assertMatch(out, /tokens .* in 3 epochs/);
  assertStringIncludes(out, "lora_alpha 32");
  const estimate = await json(["estimate", good, "--batch-size", "auto"]);
  assertEquals(estimate.object, "fine_tuning.estimate");
  assertEquals(await sql`select count(*) from tunebase.jobs`, before);
  const unknown = await runHere(2, ["estimate", good, "--set", "lora_alhpa=3"]);
  assertStringIncludes(unknown.err, "lora_alhpa");
  assertStringIncludes(
    (await runHere(1, ["estimate", good, "--model", "gpt"])).err,
    "`tunebase models list`",
  );
  assertStringIncludes((await runHere(1, ["estimate", "no-such.jsonl"])).err, "neither a local file nor");
});

Deno.test("without a terminal, jobs create requires --yes before it uploads anything", async () => {
  const count = async () => (await sql`select count(*)::int as n from tunebase.files`)[0]?.n;
  const before = await count();
  const { err } = await runHere(2, ["jobs", "create", good]);
  assertStringIncludes(err, "Pass --yes");
  assertEquals(await count(), before);
  const more = ["--suffix", "s", "--seed", "7", "--metadata", "team=cli", "--spend-cap", "5"];
  const create = ["jobs", "create", good, "--yes", "--validation", good, ...more, "--json"];
  const job = JSON.parse((await run(0, create)).out);
  assertEquals([job.object, job.suffix, job.seed, job.metadata, job.spend_cap_usd], [
    "fine_tuning.job",
    "s",
    7,
    { team: "cli" },
    5,
  ]);
  const found = await json(["jobs", "list", "--metadata", "team=cli", "--status", "queued"]);
  assertEquals(found.data.map(({ id }: { id: string }) => id), [job.id]);
  assertStringIncludes((await runHere(0, ["jobs", "list", "--model", job.model])).out, job.id);
});

Deno.test("in a terminal, jobs create shows the plan and asks for confirmation", async () => {
  await sql`update tunebase.base_models set tokens_per_second = 100, gpu_config = gpu_config || '{"cost_per_gpu_hour": 3.5}'`;
  const count = async () => (await sql`select count(*)::int as n from tunebase.jobs`)[0]?.n;
  const before = await count();
  const no = await run(1, ["jobs", "create", good], { input: "n\n", terminal: true });
  assertMatch(no.out, /Start this job for about \$\d+\.\d+ \(up to about \$\d+\.\d+\)\? \[y\/N\]/);
  assertMatch(no.out, /No job was created\. The training data is on the server as file-/);
  assertEquals(await count(), before);
  const yes = await run(0, ["jobs", "create", good], { input: "y\n", terminal: true });
  assertMatch(yes.out, /Created ftjob-\w+/);
  assertEquals(await count(), before + 1);
});

Deno.test("a job can be created on hold, started, paused, resumed and cancelled once", async () => {
  const { out } = await runHere(0, ["jobs", "create", good, "--no-start"]);
  const id = /ftjob-\w+/.exec(out)?.[0] ?? "";
  assertStringIncludes((await runHere(0, ["jobs", "start", id])).out, `Started ${id}.`);
  assertStringIncludes((await runHere(0, ["jobs", "pause", id])).out, `Paused ${id}.`);
  assertEquals((await json(["jobs", "resume", id])).status, "queued");
  assertStringIncludes((await runHere(0, ["jobs", "cancel", id])).out, `Cancelled ${id}.`);
  const { err, out: nothing } = await run(1, ["jobs", "cancel", id, "--json"]);
  assertEquals(nothing, "");
  assertStringIncludes(err, "already cancelled");
  assertStringIncludes(
    (await runHere(1, ["jobs", "get", `ftjob-${"0".repeat(32)}`])).err,
    "Run `tunebase jobs list`",
  );
});

Deno.test("jobs get, events, metrics and checkpoints show a job", async () => {
  const job = await trainedJob(tunebase, user);
  const shown = (await run(0, ["jobs", "get", job.id])).out;
  assertStringIncludes(shown, job.fine_tuned_model ?? "?");
  assertStringIncludes(shown, "loss per token 2.500 → 1.250, exact match 10% → 45.5%");
  assertStringIncludes(shown, "30 of 40 validation rows, answers compared for 20");
  assertEquals((await json(["jobs", "get", job.id])).id, job.id);
  const events = await runHere(0, ["jobs", "events", job.id, "--limit", "3"]);
  assertMatch(events.out, /Step 2.*\n[\s\S]*completed\.\n$|completed\.\n$/);
  assertStringIncludes(events.err, "For older events, add --after ftevent-");
  assertEquals((await json(["jobs", "events", job.id])).data.at(-1).number, 1);
  const metrics = await runHere(0, ["jobs", "metrics", job.id]);
  assertStringIncludes(metrics.out, "1.2500  1.5000");
  assertEquals((await json(["jobs", "metrics", job.id])).total, 2);
  assertStringIncludes((await runHere(0, ["jobs", "checkpoints", job.id])).out, "ftckpt-");
  assertEquals((await json(["jobs", "checkpoints", job.id])).data.length, 1);
  const models = await run(0, ["models", "list"]);
  assertStringIncludes(models.out, job.fine_tuned_model ?? "?");
});

Deno.test("follow exits with 0 when the job succeeds and prints plain lines without a terminal", async () => {
  const { job, worker } = await running();
  const following = start(["jobs", "follow", job.id]);
  await following.says("Fine-tuning job started.");
  await worker.report({
    metrics: [FakeWorker.metric(1, 3), FakeWorker.metric(2, 2)],
    events: [{ level: "warn", message: "a word of warning" }],
  });
  await following.says("warn: a word of warning");
  await worker.finishWithAdapter();
  const { code, out, err } = await following.done;
  assertEquals(code, 0, err);
  assertMatch(out, /Succeeded: ft:SmolLM2.* loss 3\.000 → 2\.000/);
  assertStringIncludes(out, "Base → fine-tuned: loss per token 2.500 → 1.250, exact match 10% → 45.5%\n");
  assertStringIncludes(err, `Next: tunebase adapter download ${job.id}`);
  assert(!out.includes("\r") && !out.includes("\x1b"), out);
  // Each event once, in order.
  const lines = out.split("\n").filter((line) => /^\d\d:/.test(line)).map((line) => line.slice(10));
  assertEquals(new Set(lines).size, lines.length, out);
  assertEquals(lines.indexOf("warn: a word of warning") > lines.indexOf("Fine-tuning job started."), true);
  // Following it afterwards prints the same immediately.
  assertStringIncludes((await runHere(0, ["jobs", "follow", job.id])).out, "Succeeded: ft:");
});

Deno.test("follow exits with 1 when the job fails, with the reason and hint on stderr", async () => {
  const { job, worker } = await running();
  const following = start(["jobs", "follow", job.id]);
  await following.says("Fine-tuning job started.");
  await worker.fail("non_finite_loss");
  const { code, err } = await following.done;
  assertEquals(code, 1);
  assertMatch(err, /The job failed: [\s\S]*Do this\./);
});

Deno.test("follow --json prints one event per line and the job last", async () => {
  const { job, worker } = await running();
  const following = start(["jobs", "follow", job.id, "--json"]);
  await following.says("Fine-tuning job started.");
  await worker.report({ metrics: [FakeWorker.metric(1, 3)] });
  await following.says('"type":"metrics"');
  await user.openai.fineTuning.jobs.cancel(job.id);
  const { code, out } = await following.done;
  assertEquals(code, 1);
  const objects = out.trim().split("\n").map((line) => JSON.parse(line));
  assertEquals(objects.at(-1).object, "fine_tuning.job");
  assertEquals(objects.at(-1).status, "cancelled");
  assertEquals(new Set(objects.slice(0, -1).map(({ object }) => object)), new Set(["fine_tuning.job.event"]));
});

Deno.test("Ctrl-C detaches with 130, leaves the job running and prints how to reattach", async () => {
  const { job } = await running();
  const following = start(["jobs", "follow", job.id]);
  await following.says("Fine-tuning job started.");
  following.child.kill("SIGINT");
  const { code, err } = await following.done;
  assertEquals(code, 130);
  assertStringIncludes(err, `tunebase jobs follow ${job.id}`);
  assertEquals((await user.openai.fineTuning.jobs.retrieve(job.id)).status, "running");
});

Deno.test("a terminal shows a progress bar with percent, loss, speed and time left", async () => {
  const { job, worker } = await running();
  await worker.report({ metrics: [4, 3, 2, 1].map((loss, i) => FakeWorker.metric(i + 1, loss)) });
  const following = start(["jobs", "follow", job.id], { terminal: true });
  await following.says("20% █");
  await worker.finishWithAdapter();
  const { code, out } = await following.done;
  assertEquals(code, 0, out);
  assertMatch(
    out,
    / 20% █+░+ {2}training {2}epoch 0\.5\/2 {2}step \d\/12 {2}loss 1\.000 █▆▃▁ +100 tokens\/s {2}\d+s left/,
  );
});

Deno.test("a preference file creates a DPO job, by path and by id", async () => {
  const answer = (content: string) => [{ role: "assistant", content }];
  const row = JSON.stringify({
    input: { messages: [{ role: "user", content: "hi" }] },
    preferred_output: answer("yes"),
    non_preferred_output: answer("no"),
  });
  const path = await write("pairs.jsonl", `${row}\n`);
  const job = await json(["jobs", "create", path, "--yes", "--set", "beta=0.2"]);
  assertEquals([job.method.type, job.hyperparameters.beta], ["dpo", 0.2]);
  const again = await json(["jobs", "create", job.training_file, "--yes", "--seed", "9"]);
  assertEquals([again.method.type, again.hyperparameters.beta], ["dpo", 0.1]);
  assertEquals((await json(["jobs", "create", good, "--yes", "--seed", "9"])).method.type, "supervised");
});

Deno.test("jobs create --follow follows the new job", async () => {
  const creating = start(["jobs", "create", good, "--yes", "--follow"]);
  await creating.says("Created ftjob-");
  await sql`select 1`;
  const [newest] = (await user.openai.fineTuning.jobs.list({ limit: 1 })).data;
  assert(newest !== undefined);
  await creating.says("queued for a GPU");
  await tunebase.tick();
  const worker = new FakeWorker(tunebase, (await latestAttempt(tunebase, newest)).id);
  await worker.claim();
  await worker.finishWithAdapter();
  const { code, out } = await creating.done;
  assertEquals(code, 0);
  assertStringIncludes(out, "Succeeded:");
});

Deno.test("keys can be created, shown once, listed and revoked", async () => {
  const { out } = await run(0, ["keys", "create", "ci", "--scopes", "jobs:read", "--expires-in", "30d"]);
  assertMatch(out, /^tb_[\w-]{43}\n/);
  const key = out.split("\n")[0] ?? "";
  const env = { TUNEBASE_API_KEY: key };
  await runHere(0, ["jobs", "list"], env);
  const { err } = await runHere(1, ["files", "list"], env);
  assertStringIncludes(err, 'the scope "files:read"');
  assertStringIncludes(err, "Run `tunebase whoami` to see the key's scopes.");
  const list = await json(["keys", "list"]);
  const { id } = list.data.find(({ name }: { name: string }) => name === "ci");
  assertStringIncludes((await runHere(0, ["keys", "list"])).out, "valid until");
  assertStringIncludes((await runHere(0, ["keys", "revoke", id])).out, "Revoked");
  assertStringIncludes(
    (await runHere(1, ["jobs", "list"], env)).err,
    "Run `tunebase login` with another key",
  );
});

Deno.test("listen forwards each event with a valid signature and removes its endpoint", async () => {
  const got: { id: string; type: string }[] = [];
  let secret = "";
  const receiver = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen: () => {} }, async (request) => {
    const body = await request.text();
    const event = new Webhook(secret).verify(body, Object.fromEntries(request.headers)) as {
      id: string;
      type: string;
    };
    assertEquals(event.id, request.headers.get("webhook-id"));
    got.push(event);
    return new Response(null, { status: 204 });
  });
  try {
    const url = `http://127.0.0.1:${receiver.addr.port}/hook`;
    const listening = start(["webhooks", "listen", "--forward", url, "--interval", "0.2"]);
    await listening.says("Signing secret: whsec_");
    secret = /whsec_\S+/.exec(listening.output())?.[0] ?? "";
    const job = await createJob(user);
    await user.openai.fineTuning.jobs.cancel(job.id);
    await tunebase.tick();
    await listening.says("fine_tuning.job.cancelled");
    await listening.says("→ 204");
    const [made] =
      await sql`select url from tunebase.webhook_endpoints where name like 'tunebase webhooks listen%'`;
    assertEquals(made?.url, `${baseUrl}/webhook_endpoints/discard`);
    listening.child.kill("SIGINT");
    const { code, out } = await listening.done;
    assertEquals(code, 0);
    assertStringIncludes(out, `fine_tuning.job.created  ${job.id}`);
    assertEquals(got.map(({ type }) => type).includes("fine_tuning.job.created"), true);
    assertEquals((await sql`select 1 from tunebase.webhook_endpoints`).length, 0);
  } finally {
    await receiver.shutdown();
  }
});

Deno.test("POST /webhook_endpoints/discard accepts events without a key and counts as delivered", async () => {
  const response = await fetch(`${baseUrl}/webhook_endpoints/discard`, { method: "POST", body: "{}" });
  assertEquals(response.status, 204);
});

Deno.test("listen rejects an invalid secret or URL", async () => {
  assertStringIncludes((await runHere(2, ["webhooks", "listen", "--secret", "whsec_!"])).err, "base64");
  assertStringIncludes((await runHere(2, ["webhooks", "listen", "--forward", "here"])).err, "http://");
  assertStringIncludes(
    (await runHere(1, ["webhooks", "listen", "--events", "job.done"])).err,
    'must be "fine_tuning.job.succeeded"',
  );
});

Deno.test("doctor reports success, or what to fix", async () => {
  const { out } = await run(0, ["doctor"]);
  for (const name of ["runtime", "settings", "server", "clock", "key", "scopes", "models", "Storage"]) {
    assertMatch(out, new RegExp(`^ok {4}${name}: `, "m"));
  }
  const away = await run(1, ["doctor"], { env: { TUNEBASE_BASE_URL: nowhere } });
  assertMatch(
    away.out,
    /FAIL {2}server: could not reach .*: the connection was refused\n +Check the base URL/,
  );
  const strange = await runHere(1, ["doctor"], { TUNEBASE_BASE_URL: `${tunebase.url}/storage/v1` });
  assertStringIncludes(strange.out, "but is not a Tunebase API");
  const wrong = await runHere(1, ["doctor"], { TUNEBASE_API_KEY: "tb_wrong" });
  assertStringIncludes(wrong.out, "FAIL  key: This API key does not exist");
  assertStringIncludes((await runHere(1, ["doctor"], loggedOut)).out, "Run `tunebase login`");
  const report = await json(["doctor"]);
  assertEquals([report.ok, report.checks.length], [true, 8]);
});

Deno.test("an unreachable server produces a readable error", async () => {
  const { err } = await run(1, ["jobs", "list"], { env: { TUNEBASE_BASE_URL: nowhere } });
  assertStringIncludes(err, `Could not reach ${nowhere}: the connection was refused.`);
  assertStringIncludes((await runHere(2, ["whoami"], { TUNEBASE_BASE_URL: "ftp://x" })).err, "https://");
});

Deno.test("bash completion covers commands and options, and leaves files to the shell", async () => {
  for (const shell of ["zsh", "fish"]) {
    assertStringIncludes((await runHere(0, ["completion", shell])).out, "checkpoints");
  }
  const { out } = await run(0, ["completion", "bash"]);
  assertStringIncludes(out, "checkpoints");
  const script = `${out}
complete() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _tunebase; echo "\${COMPREPLY[*]}"; }
complete tunebase jobs fo
complete tunebase jobs create --lo
complete tunebase --json jobs cre
complete tunebase files upload ''`;
  const done = await new Deno.Command("bash", { args: ["-c", script] }).output();
  assertEquals(new TextDecoder().decode(done.stdout), "follow\n--lora-rank\ncreate\n\n");
});

Deno.test("the source under Deno behaves like the bundle under Node", async () => {
  assertMatch((await run(0, ["doctor"], { deno: true })).out, /runtime: tunebase \S+ on Deno/);
  assertStringIncludes((await run(2, ["jobs", "lst"], { deno: true })).err, "Did you mean list?");
});

Deno.test("a closed stdout pipe is not an error", async () => {
  const command = `node '${path("tunebase.mjs")}' jobs list --json | head -c 1`;
  const env = { TUNEBASE_BASE_URL: baseUrl, TUNEBASE_API_KEY: user.apiKey };
  const { stderr } = await new Deno.Command("bash", { args: ["-c", command], env }).output();
  assertEquals(new TextDecoder().decode(stderr), "");
});
