/** The dashboard in a real Chromium, over the real API and database, with a fake worker. */
import { assert, assertEquals, assertStringIncludes } from "#assert";
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { signInLink } from "../../local/stack/account.ts";
import { buildDashboard } from "../../local/commands/dashboard.ts";
import { root } from "../../local/state_dir.ts";
import { join } from "../../local/paths.ts";
import { accessible } from "./axe.ts";
import { type BrowserSession, sharedPage } from "../support/browser_session.ts";
import { startChromium } from "../support/chromium.ts";
import { WebhookReceiver } from "../support/webhook_receiver.ts";
import { startTunebase } from "../support/test_server.ts";
import { createJob, FakeWorker, latestAttempt, rows, trainedJob } from "../support/fake_worker.ts";

await buildDashboard((line) => console.log(line));
const tunebase = await startTunebase();
const browser = await startChromium();
Deno.test.afterAll(async () => {
  await browser.close();
  await tunebase.close();
});
/** Ends the visit before: all tests share a page. */
const visit = await sharedPage(browser, tunebase);

/** A job with a worker that has claimed it. */
async function claimed(job: { id: string }): Promise<FakeWorker> {
  await tunebase.tick();
  const worker = new FakeWorker(tunebase, (await latestAttempt(tunebase, job)).id);
  await worker.claim();
  return worker;
}

const broken = `${rows.split("\n")[0]}\n{"messages": [{"role": "robot", "content": "hi"}]}\n`;
const metrics = (from: number, to: number) =>
  Array.from({ length: to - from + 1 }, (_, n) => ({
    ...FakeWorker.metric(from + n, 2 / (from + n)),
    gpu_utilization: 90,
    gpu_memory_gb: 12.5,
  }));

Deno.test("the main flow from sign-in to the downloaded adapter needs no reload", async () => {
  const user = await tunebase.user("ada@example.com");
  await using visitor = await visit();
  const { page } = visitor;
  await page.goto(`${tunebase.url}/dashboard/`);
  await page.getByLabel("Email", { exact: true }).fill("ada@example.com");
  await page.getByLabel("Password", { exact: false }).last().fill("wrong horse");
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByText("Invalid login credentials").waitFor();
  await page.getByLabel("Password", { exact: false }).last().fill("correct horse");
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByText("No jobs yet").waitFor();
  await page.evaluate("globalThis.sameDocument = true");

  await page.getByRole("link", { name: "Create your first fine-tune" }).click();
  const drop = page.getByLabel("Training data");
  await drop.setInputFiles({ name: "rows.jsonl", mimeType: "application/jsonl", buffer: bytes(broken) });
  const wrong = page.getByRole("row").filter({ hasText: "messages[0].role" });
  await wrong.waitFor();
  assertStringIncludes(await wrong.innerText(), "2");
  assertEquals((await user.openai.files.list()).data.length, 0, "nothing broken is uploaded");
  await drop.setInputFiles({ name: "rows.jsonl", mimeType: "application/jsonl", buffer: bytes(rows) });
  await page.getByText(/2 rows, about/).waitFor();

  const takes = page.getByRole("region", { name: "Estimate" });
  await takes.getByText("Tokens").waitFor();
  await page.getByLabel("Epochs").fill("4");
  await takes.getByText("4", { exact: true }).waitFor(); // steps
  await page.getByLabel("Batch size").fill("1000");
  await page.getByText("Batch size = 1000").first().waitFor();
  assert(await page.getByLabel("Batch size").getAttribute("aria-invalid") === "true");
  await page.getByLabel("Batch size").fill("");
  await page.getByPlaceholder("auto: 8").waitFor();
  await page.getByLabel("Name").fill("support");
  await page.getByLabel("Spend cap").fill("5");
  await page.getByRole("button", { name: "Start job" }).click();

  await page.getByRole("heading", { name: "support" }).waitFor();
  const [job] = (await user.openai.fineTuning.jobs.list()).data;
  assert(job !== undefined);
  await page.getByText(/It is next|waits/).first().waitFor();
  await page.locator('[data-connection="live"]').waitFor();
  const worker = await claimed(job);
  await worker.report({ stage: "loading_model", progress: 4, current_step: 0 });
  await page.locator('[aria-current="step"]', { hasText: "loading model" }).waitFor();
  await worker.report({
    metrics: metrics(1, 8),
    current_step: 8,
    progress: 60,
    events: [{ level: "warn", message: "two rows were cut" }],
  });
  await page.getByText("8 of 12").waitFor();
  await page.getByText("warn: two rows were cut").waitFor();
  await page.getByRole("img", { name: /^Loss\. training: 2 at step 1, 0\.25 at step 8/ }).waitFor();
  await page.getByRole("img", { name: /^GPU memory, GiB\./ }).waitFor();
  await page.getByText(/of \$5\.00 spend cap/).waitFor();
  await worker.checkpoint(8);
  await page.getByRole("button", { name: "of step 8" }).waitFor();
  const contents = {
    "adapter_model.safetensors": "weights",
    "samples.json": JSON.stringify({
      samples: [{
        line: 1,
        prompt: "Hello?",
        expected: "ok",
        base: "Hello! How",
        base_finished: false,
        tuned: "ok.",
      }],
    }),
  };
  const files = [];
  for (const [path, text] of Object.entries(contents)) {
    const bytes = new TextEncoder().encode(text);
    const file = FakeWorker.file(path, bytes);
    await worker.upload(path, bytes);
    await worker.verify(file);
    files.push(file);
  }
  await worker.succeed(files);
  await tunebase.tick(); // creates notifications

  await page.getByText("Files and hashes").click();
  const link = page.getByRole("link", { name: "adapter_model.safetensors" });
  await link.waitFor();
  const [download] = await Promise.all([page.waitForEvent("download"), link.click()]);
  const saved = await Deno.readFile(await download.path());
  assertEquals(download.suggestedFilename(), "adapter_model.safetensors");
  const sha256 = createHash("sha256").update(saved).digest("hex");
  await page.getByText(sha256).waitFor();
  await page.getByLabel("PEFT", { exact: true }).first().check();
  await page.getByText("PeftModel.from_pretrained").waitFor();
  const scores = page.getByRole("region", { name: "Evaluation" });
  assertEquals(
    await scores.getByRole("row", { name: "Exact match" }).getByRole("cell").allInnerTexts(),
    ["10%", "45.5%"],
  );
  await page.getByText("Evaluated: 30 of 40 validation rows, answers compared for 20.").waitFor();
  const sample = page.getByRole("listitem").filter({ hasText: "Hello?" });
  assertEquals(await sample.getByRole("definition").allInnerTexts(), ["ok", "Hello! How …", "ok."]);
  await page.getByRole("link", { name: /Notifications 1/ }).waitFor();
  assert(await page.evaluate("globalThis.sameDocument"), "the page was reloaded");
  await accessible(page, "job, succeeded");
  await page.getByRole("link", { name: "Playground", exact: true }).click();
  await page.getByLabel("Model", { exact: true }).locator("option[value^='ft:']").waitFor({
    state: "attached",
  });
  visitor.clean();
});

Deno.test("a magic link signs in once; a used one shows an error", async () => {
  await tunebase.user("link@example.com");
  await using visitor = await visit();
  const { page } = visitor;
  await page.goto(`${tunebase.url}/dashboard/`);
  await accessible(page, "sign in");
  await page.getByLabel("Magic link").check();
  await page.getByLabel("Email", { exact: true }).fill("link@example.com");
  await page.getByRole("button", { name: "Send magic link" }).click();
  await page.getByText("sent a sign-in link").waitFor();
  const link = tunebase.mails.findLast(({ to }) => to === "link@example.com")?.link ?? "";
  await page.goto(link);
  await page.getByText("No jobs yet").waitFor();
  assert(!page.url().includes("token"), "the tokens stay out of the address");
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByRole("button", { name: "Sign in" }).waitFor();
  await page.goto(link);
  await page.getByText("Email link is invalid or has expired").waitFor();
  await page.goto(await signInLink(tunebase, "link@example.com")); // as the demo opens it
  await page.getByText("No jobs yet").waitFor();
});

Deno.test("events missed while offline appear once after reconnecting", async () => {
  const user = await tunebase.user();
  const job = await createJob(user);
  const worker = await claimed(job);
  await worker.report({ metrics: metrics(1, 2), events: [{ level: "info", message: "line one" }] });
  await using visitor = await visit({ user, path: `jobs/${job.id}` });
  const { page, context } = visitor;
  await page.locator('[data-connection="live"]').waitFor();
  await page.getByText("line one").waitFor();
  await context.setOffline(true);
  await page.getByText("You're offline.").waitFor();
  await page.locator('[data-connection="offline"]').waitFor();
  await worker.report({ metrics: metrics(3, 4), events: [{ level: "info", message: "line two" }] });
  await context.setOffline(false);
  await page.getByText("line two").waitFor();
  await page.getByRole("img", { name: /^Loss\..* at step 4/ }).waitFor();
  assertEquals(await page.getByText("line one", { exact: true }).count(), 1);
  assertEquals(await page.getByText("line two", { exact: true }).count(), 1);
});

Deno.test("a job can be paused, resumed and cancelled on its page", async () => {
  const user = await tunebase.user();
  const job = await createJob(user);
  const worker = await claimed(job);
  await worker.report({ metrics: metrics(1, 2) });
  await using visitor = await visit({ user, path: `jobs/${job.id}` });
  const { page } = visitor;
  await page.getByRole("button", { name: "Pause" }).click();
  await page.getByText("pausing after the next checkpoint").waitFor();
  await worker.checkpoint(2);
  await worker.paused();
  await page.getByRole("button", { name: "Resume" }).click();
  await page.getByText("queued").first().waitFor();
  await page.getByRole("button", { name: "Cancel" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Keep job" }).click();
  assertEquals((await user.openai.fineTuning.jobs.retrieve(job.id)).status, "queued");
  await page.getByRole("button", { name: "Cancel" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Cancel job" }).click();
  await page.getByText("cancelled").first().waitFor();
  assertEquals((await user.openai.fineTuning.jobs.retrieve(job.id)).status, "cancelled");
  visitor.clean();
});

Deno.test("an out-of-memory job explains itself and can be rerun with half the batch size", async () => {
  const user = await tunebase.user();
  const job = await createJob(user);
  const worker = await claimed(job);
  await worker.report({ events: [{ level: "error", message: "CUDA out of memory" }] });
  await worker.fail("out_of_memory");
  await using visitor = await visit({ user, path: `jobs/${job.id}` });
  const { page } = visitor;
  await page.getByText("it was out_of_memory.").first().waitFor();
  await page.getByText("What to do: Do this.").waitFor();
  assertStringIncludes(
    await page.getByLabel("Last log lines").innerText(),
    "CUDA out of memory",
  );
  await accessible(page, "job, failed");
  await page.getByRole("link", { name: "Retry with batch size 4" }).click();
  await page.getByRole("button", { name: "Start job" }).click();
  await page.getByRole("heading", { name: "SmolLM2-135M-Instruct" }).waitFor();
  const [again] = (await user.openai.fineTuning.jobs.list()).data;
  assertEquals(again?.hyperparameters.batch_size, 4);
  assertEquals(again?.training_file, job.training_file);
  visitor.clean();
});

Deno.test("a file over 32 MiB uploads in chunks; a failed chunk is retried", async () => {
  const user = await tunebase.user();
  await using visitor = await visit({ user, path: "new" });
  const { page } = visitor;
  const pieces: number[] = [];
  page.on("response", (response) => {
    if (response.request().method() === "PATCH") pieces.push(response.status());
  });
  let cut = false;
  await page.route("**/storage/v1/upload/resumable/**", async (route) => {
    if (route.request().method() !== "PATCH" || pieces.length === 0) return await route.fallback();
    cut = true;
    await route.abort("connectionreset");
    await page.unroute("**/storage/v1/upload/resumable/**"); // otherwise every body passes through the debugger
  });
  const messages = [{ role: "user", content: "a" }, { role: "assistant", content: "b".repeat(1_000_000) }];
  const text = JSON.stringify({ messages });
  const place = await Deno.makeTempFile({ suffix: ".jsonl" });
  await Deno.writeTextFile(place, `${text}\n`.repeat(34));
  try {
    await page.getByLabel("Training data").setInputFiles(place);
    await page.getByText("is being validated").waitFor();
    const checking = await (await user.fetch("/files")).json();
    assertEquals(checking.data[0].report, null, "as the API's document says");
    // A tick validates only what its CPU budget allows.
    const status = async () => (await (await user.fetch(`/files/${checking.data[0].id}`)).json()).status;
    while (await status() === "uploaded") await tunebase.tick();
    await page.getByText(/34 rows, about/).waitFor();
    assert(cut);
    assertEquals(pieces, Array.from({ length: 6 }, () => 204));
    const [file] = (await user.openai.files.list()).data;
    assertEquals(file?.bytes, 34 * (text.length + 1));
  } finally {
    await Deno.remove(place);
  }
});

Deno.test("a CSV file is uploaded, and its page shows rows before and after their conversion", async () => {
  const user = await tunebase.user();
  await using visitor = await visit({ user, path: "new" });
  const { page } = visitor;
  const csv = "id,prompt,completion\n1,What is up?,The sky\n2,c,d\n";
  await page.getByLabel("Training data").setInputFiles({
    name: "rows.csv",
    mimeType: "text/csv",
    buffer: bytes(csv),
  });
  await page.getByText(/2 rows, about/).waitFor();
  const [file] = (await user.openai.files.list()).data;
  await page.goto(`${tunebase.url}/dashboard/#/files/${file?.id}`);
  await page.getByRole("heading", { name: "Conversion" }).waitFor();
  await page.getByText("Prompt and completion (CSV)").waitFor();
  await page.getByText('{"id":"1","prompt":"What is up?","completion":"The sky"}').waitFor();
  await page.getByText('{"role":"assistant","content":"The sky"}').waitFor();
  await accessible(page, "file, converted");
  visitor.clean();
});

Deno.test("a key is shown once, works, and can be revoked", async () => {
  const user = await tunebase.user();
  await using visitor = await visit({ user, path: "keys" });
  const { page } = visitor;
  await page.getByLabel("Name").fill("ci");
  await page.getByRole("button", { name: "Create key" }).click();
  const key = await page.locator(".secret code").innerText();
  const call = () => user.fetch("/models", { headers: { authorization: `Bearer ${key}` } });
  const first = await call();
  await first.body?.cancel();
  assertEquals(first.status, 200);
  await accessible(page, "a new key");
  await page.getByRole("button", { name: "Done" }).click();
  await page.reload();
  const row = page.getByRole("row").filter({ has: page.getByRole("rowheader", { name: "ci", exact: true }) });
  await row.getByRole("button", { name: "Revoke" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Revoke key" }).click();
  await row.getByText("revoked").waitFor();
  assert(!(await page.content()).includes(key));
  const second = await call();
  await second.body?.cancel();
  assertEquals(second.status, 401);
  visitor.clean();
});

Deno.test("an endpoint can be created, and its deliveries viewed and resent", async () => {
  const user = await tunebase.user();
  const receiver = new WebhookReceiver();
  try {
    await using visitor = await visit({ user, path: "webhooks" });
    const { page } = visitor;
    await page.getByText("No webhook endpoints yet").waitFor();
    await page.getByLabel("Name").fill("production");
    await page.getByLabel("URL").fill(`${receiver.url}/hook`);
    await page.getByRole("button", { name: "Add endpoint" }).click();
    assert((await page.locator(".secret code").innerText()).startsWith("whsec_"));
    await trainedJob(tunebase, user);
    await tunebase.tick();
    await page.getByRole("link", { name: "production" }).click();
    const row = page.getByRole("row").filter({ hasText: "fine_tuning.job.succeeded" });
    await row.getByText("delivered").waitFor();
    await row.getByRole("button", { name: "Details" }).click();
    await page.getByLabel("Request body").waitFor();
    await accessible(page, "an endpoint");
    const before = receiver.received.length;
    await row.getByRole("button", { name: "Resend" }).click();
    await row.getByText("pending").waitFor();
    await tunebase.tick();
    assertEquals(receiver.received.length, before + 1);
    visitor.clean();
  } finally {
    await receiver.close();
  }
});

Deno.test("an invited user can accept and use the project as a viewer", async () => {
  const owner = await tunebase.user("owner@example.com");
  const guest = await tunebase.user("guest@example.com");
  {
    await using visitor = await visit({ user: owner, path: "project" });
    const { page } = visitor;
    await page.getByLabel("Email").fill("guest@example.com");
    await page.getByLabel("Role", { exact: true }).selectOption("viewer");
    await page.getByRole("button", { name: "Send invitation" }).click();
    await page.getByRole("row").filter({ hasText: "guest@example.com" }).waitFor();
    await accessible(page, "project");
  }
  await using visitor = await visit({ user: guest });
  const { page } = visitor;
  await page.getByRole("button", { name: "View invitation" }).click();
  await page.getByRole("button", { name: "Accept" }).click();
  // Not the guest's own project, which the page shows until it is reloaded.
  await page.locator("dl div").filter({ hasText: "Your role" }).getByText("viewer").waitFor();
  await page.getByRole("link", { name: "Jobs", exact: true }).click();
  await page.getByText("No jobs yet").waitFor();
  assertEquals(await page.getByRole("link", { name: /fine-tune/i }).count(), 0, "a viewer starts nothing");
});

const pages = [
  "jobs",
  "new",
  "jobs/JOB",
  "files",
  "files/FILE",
  "models",
  "playground",
  "evaluations",
  "evaluations/new",
  "completions",
  "compare",
  "compare?jobs=JOB",
  "usage",
  "keys",
  "webhooks",
  "project",
  "status",
  "notifications",
  "nowhere",
];

Deno.test("every page passes axe, empty and full, light and dark, and fits a narrow screen", async () => {
  const empty = await tunebase.user();
  const full = await tunebase.user();
  const job = await trainedJob(tunebase, full);
  await tunebase.tick(); // a notification, and its badge
  for (const user of [empty, full]) {
    await using visitor = await visit({ user });
    const { page } = visitor;
    for (const path of pages) {
      if (user === empty && path.includes("/")) continue;
      await visitor.go(path.replace("JOB", job.id).replace("FILE", job.training_file));
      await accessible(page, path);
      if (user === full) {
        await page.emulateMedia({ colorScheme: "dark" });
        await accessible(page, `${path}, dark`, ["color-contrast", "link-in-text-block"]);
        await page.emulateMedia({ colorScheme: "light" });
      }
      await page.setViewportSize({ width: 360, height: 740 });
      const wide = await page.evaluate("document.scrollingElement.scrollWidth - innerWidth") as number;
      assert(wide <= 0, `${path} is ${wide} px too wide for a narrow screen`);
      await page.setViewportSize(visitor.size);
    }
    visitor.clean();
  }
});

Deno.test("failed requests show an error and can be retried; missing resources show the API's message", async () => {
  const user = await tunebase.user();
  await using visitor: BrowserSession = await visit({ user });
  const { page } = visitor;
  await visitor.go("jobs/ftjob-0192f5c8a1b27c3d8e4f5a6b7c8d9e0f");
  await page.getByRole("alert").first().waitFor();
  assertStringIncludes(await page.getByRole("alert").first().innerText(), "job_not_found");
  await page.route("**/tunebase/usage*", (route) => route.abort());
  await visitor.go("usage", false);
  await page.getByText("Could not reach the server.").waitFor();
  await accessible(page, "an error");
  await page.unroute("**/tunebase/usage*");
  await page.getByRole("button", { name: "Try again" }).click();
  await page.getByText("No usage in this period").waitFor();
});

Deno.test("the API reference shows every operation, and search finds one", async () => {
  await using visitor = await visit();
  const { page } = visitor;
  await page.goto(`${tunebase.url}/dashboard/docs`);
  const { paths } = await (await fetch(`${tunebase.url}/functions/v1/tunebase/openapi.json`)).json();
  // By selectors: a search by role goes through all of its 35,000 elements.
  await page.locator("h1", { hasText: "Tunebase" }).first().waitFor();
  const operations = Object.values(paths).flatMap((path) => Object.keys(path as object));
  const shown = await page.locator('[role="menuitem"] [type]').count();
  assert(shown >= operations.length, `${shown} of ${operations.length} operations`);
  const search = page.locator("[role=search]");
  await search.locator("input").fill("pause");
  await search.getByText("Pause", { exact: false }).first().waitFor();
  visitor.clean();
});

Deno.test("packages shared with the Deno code have the same versions", async () => {
  const read = async (path: string) => JSON.parse(await Deno.readTextFile(join(root, path)));
  const { imports } = await read("import_map.json");
  const { dependencies } = await read("dashboard/package.json");
  const shared = Object.keys(dependencies).filter((name) => name in imports);
  assert(shared.includes("openapi-fetch"));
  for (const name of shared) assertEquals(imports[name], `npm:${name}@${dependencies[name]}`);
});

Deno.test("a new fine-tune can be created by keyboard alone", async () => {
  const user = await tunebase.user();
  await using visitor = await visit({ user });
  const { page } = visitor;
  const focused = () => page.evaluate("document.activeElement.textContent") as Promise<string>;
  assertEquals(await focused(), "Jobs", "the page's heading has the focus");
  await page.evaluate("document.querySelector('.brand').focus()");
  await page.keyboard.press("Shift+Tab");
  assertEquals(await focused(), "Skip to content");
  await page.keyboard.press("Enter");
  assertEquals(await focused(), "Jobs");
  await page.keyboard.press("Tab");
  assertEquals(await focused(), "New fine-tune");
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "New fine-tune" }).waitFor();
  assertEquals(await focused(), "New fine-tune");
});

// @proves report-first-100-points
Deno.test("100,000 steps render as one curve with zoom", async () => {
  const user = await tunebase.user();
  const job = await trainedJob(tunebase, user);
  await tunebase.sql`
    insert into tunebase.metrics (job_id, step, project_id, attempt, epoch, training_loss, learning_rate, gradient_norm, tokens_per_second)
    select ${
    uuid(job.id)
  }, s, ${user.projectId}, 1, s / 50000.0, 1 + 1000.0 / s, 1e-4, 1, 100 from generate_series(3, 100000) s`;
  await using visitor = await visit({ user, path: `jobs/${job.id}` });
  const { page } = visitor;
  const charts = page.locator("[data-points]");
  await charts.waitFor();
  const points = Number(await charts.getAttribute("data-points"));
  assert(points > 400 && points < 1500, `${points} points`);
  const plot = page.getByRole("img", { name: /^Loss\..*at step 100,000/ });
  await plot.scrollIntoViewIfNeeded();
  const box = await plot.boundingBox();
  assert(box !== null);
  await page.mouse.move(box.x + box.width * 0.5, box.y + 40);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width * 0.51, box.y + 40, { steps: 3 });
  await page.mouse.up();
  await page.getByRole("button", { name: "Show the whole run" }).waitFor();
  await page.getByRole("img", { name: /^Loss\..*at step 100,000/ }).waitFor({ state: "detached" });
  await page.getByRole("button", { name: "Show the whole run" }).click();
  await plot.waitFor();
  visitor.clean();
});

const bytes = (text: string) => Buffer.from(text);
const uuid = (id: string) => id.replace("ftjob-", "").replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");

Deno.test("a user without a project sees what to do, and can create one only with open sign-up", async () => {
  const user = await tunebase.user("stranger@example.com");
  await tunebase.sql`delete from tunebase.projects where id = ${user.projectId}`;
  {
    await using visitor = await visit({ user });
    const { page } = visitor;
    await page.getByRole("heading", { name: "No project yet" }).waitFor();
    await page.getByText("task operator owner stranger@example.com").waitFor();
    assertEquals(await page.getByRole("button", { name: "Create project" }).count(), 0);
    await accessible(page, "no project");
  }
  await tunebase.sql`update tunebase_internal.settings set signup = 'open', max_spend_cap_usd = 50`;
  await using visitor = await visit({ user });
  const { page } = visitor;
  await page.getByLabel("Name", { exact: true }).fill("Mine");
  await page.getByRole("button", { name: "Create project" }).click();
  await page.getByText("No jobs yet").waitFor();
  await tunebase.sql`update tunebase_internal.settings set signup = 'invite', max_spend_cap_usd = null`;
});
