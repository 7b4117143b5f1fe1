/** What follows a fine-tune, in a real Chromium: its model, evaluations, comparisons, stored completions and usage. */
import { assert, assertEquals, assertStringIncludes } from "#assert";
import { Buffer } from "node:buffer";
import type { Page } from "playwright-core";
import { buildDashboard } from "../../local/commands/dashboard.ts";
import { openDashboard } from "../support/browser_session.ts";
import { startChromium } from "../support/chromium.ts";
import { complete } from "../support/fake_inference.ts";
import { createJob, FakeWorker, latestAttempt, trainedJob } from "../support/fake_worker.ts";
import { startTunebase, type TestUser } from "../support/test_server.ts";
import { accessible } from "./axe.ts";

await buildDashboard((line) => console.log(line));
const tunebase = await startTunebase();
const browser = await startChromium();
Deno.test.afterAll(async () => {
  await browser.close();
  await tunebase.close();
});
const { inference, sql } = tunebase;
await sql`update tunebase.base_models set inference_usd_per_million_output_tokens = 1000`;
const visit = (options: Parameters<typeof openDashboard>[2] = {}) =>
  openDashboard(browser, tunebase, options);
const base = "SmolLM2-135M-Instruct";

const row = (question: string, answer: string) =>
  JSON.stringify({ messages: [{ role: "user", content: question }, { role: "assistant", content: answer }] });
const text = [
  row("Who pays?", '{"team":"billing","urgent":true}'),
  row("What is due?", "A refund is due"),
  row("What else?", "Nothing else"),
].join("\n");

/** The tuned model is right twice, the base once; both are wrong in the first row. */
function answerLikeModels(): void {
  inference.answer = (request) => {
    const question = (request.body.messages as { content: string }[]).at(-1)?.content;
    if (question === "What else?") return complete(["Nothing else"])(request);
    const isTuned = request.token.adapter !== null;
    if (question === "Who pays?") {
      return complete([isTuned ? '{"team":"billing","urgent":false}' : "I cannot say"])(request);
    }
    return complete([isTuned ? "A refund is due" : "A bill is due"])(request);
  };
}

/** One tick when all answers are due. */
async function answerEvaluations(): Promise<void> {
  await sql`update tunebase_internal.evaluation_queue set next_at = now()`;
  await tunebase.tick();
}

async function fits(page: Page, what: string): Promise<void> {
  const wide = await page.evaluate("document.scrollingElement.scrollWidth - innerWidth") as number;
  assert(wide <= 0, `${what} is ${wide} px too wide`);
}

/** Writes pictures to look at: with TUNEBASE_SHOTS=folder. */
async function shoot(page: Page, name: string): Promise<void> {
  const folder = Deno.env.get("TUNEBASE_SHOTS");
  if (folder === undefined) return;
  const size = page.viewportSize();
  const take = async (suffix: string) => {
    await page.waitForTimeout(400); // charts resize
    await page.screenshot({ path: `${folder}/${name}-${suffix}.png`, fullPage: true });
  };
  await take("wide");
  await page.emulateMedia({ colorScheme: "dark" });
  await take("dark");
  await page.emulateMedia({ colorScheme: "light" });
  await page.setViewportSize({ width: 390, height: 800 });
  await take("390");
  if (size !== null) await page.setViewportSize(size);
}

Deno.test("a finished job leads with what to do next, up to its evaluation against the base model", async () => {
  const user = await tunebase.user();
  const job = await trainedJob(tunebase, user, await createJob(user, {}, text));
  await using visitor = await visit({ user, path: `jobs/${job.id}` });
  const { page } = visitor;
  const result = page.getByRole("region", { name: "Your model is ready" });
  await result.getByRole("heading", { name: "Try it" }).waitFor();
  const [download] = await Promise.all([
    page.waitForEvent("download"),
    result.getByRole("button", { name: "Download all" }).click(),
  ]);
  const folder = `adapter-${job.id}`;
  assertEquals(download.suggestedFilename(), `${folder}.tar`);
  const { stdout } = await new Deno.Command("tar", { args: ["-tf", await download.path()] }).output();
  assertStringIncludes(new TextDecoder().decode(stdout), `${folder}/adapter_model.safetensors`);
  await result.getByText(`tunebase adapter download ${job.id} --dir adapter`).waitFor();
  await result.getByLabel("Python", { exact: true }).check();
  await result.getByText(`model="${job.fine_tuned_model}"`).waitFor();
  await result.getByLabel("vLLM", { exact: true }).check();
  await result.getByText("--max-lora-rank 16").waitFor();
  assertEquals(await result.getByText("SHA-256").first().isVisible(), false);
  await accessible(page, "a finished job");
  await page.setViewportSize({ width: 390, height: 800 });
  await fits(page, "a finished job");
  await page.setViewportSize(visitor.size);
  await shoot(page, "job");

  await result.getByRole("link", { name: "Evaluate against the base model" }).click();
  await page.getByText("These are the rows that the model was trained on").waitFor();
  assertEquals(await page.getByLabel("Model", { exact: true }).inputValue(), job.fine_tuned_model);
  assertEquals(await page.getByLabel("Compare with", { exact: true }).inputValue(), base);
  await page.getByRole("button", { name: "Add a check" }).click();
  await page.getByLabel("Text 1").fill("REFUND");
  await page.getByText("6 requests").waitFor();
  await accessible(page, "a new evaluation");
  await shoot(page, "evaluation-new");
  answerLikeModels();
  await page.getByRole("button", { name: "Start evaluation" }).click();
  await page.getByText("0 of 6 answers").waitFor();
  await answerEvaluations();
  const scores = page.getByRole("region", { name: "Scores" }).first();
  await scores.getByText("succeeded").waitFor();
  const cells = (name: string) => scores.getByRole("row", { name }).getByRole("cell").allInnerTexts();
  assertEquals(await cells("Exact match"), ["66.7%", "33.3%"]);
  assertEquals(await cells("Correct JSON fields"), ["50%", "0%"]);
  assertEquals(await cells('contains "REFUND"'), ["33.3%", "0%"]);

  const rows = page.getByRole("list", { name: "Rows" }).locator("> li");
  await rows.nth(2).waitFor();
  const first = rows.filter({ hasText: "Who pays?" });
  await first.getByText("1 of 2 fields correct").waitFor();
  assertEquals(await first.locator("mark").allInnerTexts(), ["false"]);
  await page.getByLabel("Show").selectOption("Only where the answers differ");
  await page.getByText("2 of 3 rows.").waitFor();
  assertEquals(await rows.count(), 2);
  await page.getByLabel("Show").selectOption("Only without an exact match");
  await rows.filter({ hasText: "What is due?" }).getByText("Different answer").waitFor();
  await page.getByLabel("Show").selectOption("All rows");
  await accessible(page, "an evaluation");
  await page.setViewportSize({ width: 390, height: 800 });
  await fits(page, "an evaluation");
  await page.setViewportSize(visitor.size);
  await shoot(page, "evaluation");

  await page.getByRole("link", { name: "Evaluations" }).first().click();
  await page.getByRole("row").filter({ hasText: "66.7%" }).getByText("succeeded").waitFor();
  await accessible(page, "evaluations");
  await shoot(page, "evaluations");
  await visitor.go(`jobs/${job.id}`);
  await page.getByRole("heading", { name: "Evaluations" }).waitFor();
  visitor.clean();
});

Deno.test("an evaluation can be cancelled and deleted; a viewer creates none", async () => {
  const user = await tunebase.user();
  const { fine_tuned_model, training_file } = await trainedJob(tunebase, user);
  const response = await user.fetch("/evaluations", {
    method: "POST",
    body: JSON.stringify({ models: [fine_tuned_model, base], file: training_file, name: "nightly" }),
  });
  const { id } = await response.json();
  await using visitor = await visit({ user, path: `evaluations/${id}` });
  const { page } = visitor;
  await page.getByRole("button", { name: "Cancel evaluation" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Keep running" }).click();
  await page.getByRole("button", { name: "Cancel evaluation" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Cancel evaluation" }).click();
  await page.getByText("cancelled").waitFor();
  await page.getByRole("button", { name: "Delete" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Delete evaluation" }).click();
  await page.getByText("No evaluations yet").waitFor();
  await accessible(page, "no evaluations");
  await sql`update tunebase.project_members set role = 'viewer' where user_id = ${user.id}`;
  await page.reload();
  await page.getByText("No evaluations yet").waitFor();
  assertEquals(await page.getByRole("link", { name: /evaluation$/i }).count(), 0);
  visitor.clean();
});

Deno.test("an owner turns storing on, and makes a dataset of the completions that match", async () => {
  const user = await tunebase.user();
  await using visitor = await visit({ user, path: "completions" });
  const { page } = visitor;
  await page.getByText("No stored completions yet").waitFor();
  await accessible(page, "no stored completions");
  await shoot(page, "completions-empty");
  await page.getByLabel("Store completions of requests").check();
  await page.getByLabel("Keep for (days)").fill("7");
  await page.getByRole("button", { name: "Save" }).click();
  await page.getByText("On: completions are deleted after 7 days.").waitFor();
  inference.answer = complete(["Fine", " so far"]);
  const ask = (content: string, rating: string) =>
    user.openai.chat.completions.create({
      model: base,
      messages: [{ role: "system", content: "Be brief." }, { role: "user", content }],
      store: true,
      metadata: { rating },
    });
  await ask("How are you?", "good");
  await ask("How was it?", "bad");
  await page.reload();
  const list = page.getByRole("list", { name: "Stored completions" }).locator("> li");
  await list.nth(1).waitFor();
  assertStringIncludes(await list.first().innerText(), "How was it?");
  await page.getByLabel("Metadata").first().fill("rating");
  await page.getByText("Write key=value").waitFor();
  await page.getByLabel("Metadata").first().fill("rating=good");
  await page.keyboard.press("Enter");
  await list.filter({ hasText: "How was it?" }).waitFor({ state: "detached" });
  await list.filter({ hasText: "How are you?" }).waitFor();
  assertEquals(await list.count(), 1);
  await page.getByText("Create a dataset file").click();
  await accessible(page, "stored completions");
  await page.setViewportSize({ width: 390, height: 800 });
  await fits(page, "stored completions");
  await page.setViewportSize(visitor.size);
  await shoot(page, "completions");
  await page.getByLabel("File name").fill("good.jsonl");
  await page.getByRole("button", { name: "Create dataset file" }).click();
  await page.getByRole("heading", { name: "good.jsonl" }).waitFor();
  const rows = page.getByRole("list", { name: "First rows" });
  await rows.getByText("How are you?").waitFor();
  await rows.getByText("Fine so far").waitFor();
  await accessible(page, "a file with its first rows");
  await shoot(page, "file");

  await visitor.go("completions");
  await list.filter({ hasText: "How was it?" }).getByRole("button", { name: "Delete" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Delete completion" }).click();
  await list.filter({ hasText: "How was it?" }).waitFor({ state: "detached" });

  // What the requests cost, by model and by key.
  await visitor.go("usage");
  const used = page.getByRole("region", { name: "Inference", exact: true });
  const cells = (name: string) => used.getByRole("row", { name }).getByRole("cell").allInnerTexts();
  await used.getByRole("row", { name: base }).waitFor();
  assertEquals((await cells(base)).slice(1, 4), ["2", "14", "4"]);
  await used.getByRole("combobox").selectOption("API key");
  await used.getByRole("columnheader", { name: "API key" }).waitFor();
  assertEquals(await used.getByRole("row").count(), 2);
  await accessible(page, "usage with inference");
  await page.setViewportSize({ width: 390, height: 800 });
  await fits(page, "usage");
  await page.setViewportSize(visitor.size);
  await shoot(page, "usage");
  visitor.clean();
});

Deno.test("models say whether they can be called, and load on request", async () => {
  const user = await tunebase.user();
  const { fine_tuned_model } = await trainedJob(tunebase, user);
  await using visitor = await visit({ user, path: "models" });
  const { page } = visitor;
  const tuned = page.getByRole("row").filter({ hasText: fine_tuned_model ?? "" });
  await tuned.getByText("Callable").waitFor();
  inference.warm = () => new Response(null, { status: 204 });
  await tuned.getByRole("button", { name: "Load" }).click();
  await tuned.getByText("Loading …").waitFor();
  inference.warm = () => Response.json({ status: "ready" });
  await tuned.getByText(/^Loaded at \d/).waitFor();
  await accessible(page, "models");
  await shoot(page, "models");
  await sql`update tunebase.base_models set inference_endpoint_id = null`;
  try {
    await page.reload();
    await tuned.getByText("Not callable").waitFor();
    await tuned.getByText(/endpoint/).waitFor();
    assertEquals(await tuned.getByRole("button", { name: "Load" }).count(), 0);
    await accessible(page, "models that cannot be called");
  } finally {
    await sql`update tunebase.base_models set inference_endpoint_id = 'local-inference'`;
  }
  visitor.clean();
});

/** A job with these settings whose worker has reported a falling loss. */
async function trainedWith(user: TestUser, file: string, suffix: string, settings: object, loss: number) {
  const job = await user.openai.fineTuning.jobs.create({
    model: base,
    training_file: file,
    suffix,
    method: { type: "supervised", supervised: { hyperparameters: settings } },
  });
  await tunebase.tick();
  const worker = new FakeWorker(tunebase, (await latestAttempt(tunebase, job)).id);
  await worker.claim();
  await worker.report({
    metrics: Array.from({ length: 40 }, (_, n) => ({
      ...FakeWorker.metric(n + 1, loss / (n + 1)),
      validation_loss: n % 8 === 7 ? loss / n : null,
    })),
    current_step: 40,
    trained_tokens: 4000,
  });
  await worker.finishWithAdapter();
  return job;
}

Deno.test("runs selected in the list are compared: scores, curves, and the settings that differ", async () => {
  const user = await tunebase.user();
  const { id } = await user.openai.files.create({
    file: new File([text], "rows.jsonl"),
    purpose: "fine-tune",
  });
  await trainedWith(user, id, "small", { n_epochs: 2, batch_size: 1 }, 2);
  await trainedWith(user, id, "large", { n_epochs: 2, batch_size: 2 }, 3);
  const third = await trainedWith(user, id, "third", { n_epochs: 3, batch_size: 2 }, 4);
  await using visitor = await visit({ user });
  const { page } = visitor;
  await page.getByLabel("Compare small").check();
  await page.getByLabel("Compare large").check();
  await shoot(page, "jobs");
  await page.getByRole("link", { name: "Compare 2 runs" }).click();
  const results = page.getByRole("region", { name: "Results" });
  await results.getByRole("row", { name: "Exact match" }).waitFor();
  assertEquals(
    await results.getByRole("row", { name: "Exact match" }).getByRole("cell").allInnerTexts(),
    ["45.5% (base 10%)", "45.5% (base 10%)"],
  );
  const settings = page.getByRole("region", { name: "Settings" });
  assertEquals(await settings.getByRole("rowheader").allInnerTexts(), ["Batch size"]);
  await page.getByLabel("Only settings that differ").uncheck();
  await settings.getByRole("row", { name: "Epochs" }).waitFor();
  assertEquals(await settings.locator("tr.differs").count(), 1);
  const chart = page.getByRole("img", { name: /^Training loss\. small: 2 at step 1, .*large: 3 at step 1,/ });
  await chart.waitFor();
  await page.getByRole("img", { name: /^Validation loss\./ }).waitFor();
  await page.getByLabel("By").selectOption("Trained tokens");
  await page.getByRole("img", { name: /^Training loss\. small: 2 at tokens 100,/ }).waitFor();
  await page.getByLabel("Add a run").selectOption(third.id);
  await results.getByRole("columnheader", { name: "third" }).waitFor();
  await accessible(page, "compared runs");
  await page.setViewportSize({ width: 390, height: 800 });
  await fits(page, "compared runs");
  await page.setViewportSize(visitor.size);
  await shoot(page, "compare");
  await results.getByRole("button", { name: "Remove small" }).click();
  await results.getByRole("columnheader", { name: "small" }).waitFor({ state: "detached" });
  visitor.clean();
});

Deno.test("a new fine-tune: sample data, problems by label, state that survives a reload, code to copy", async () => {
  const user = await tunebase.user();
  await using visitor = await visit({ user, path: "jobs" });
  const { page } = visitor;
  await page.getByRole("heading", { name: "No jobs yet" }).waitFor();
  await accessible(page, "a new project");
  await shoot(page, "jobs-empty");
  await page.getByRole("link", { name: "Create your first fine-tune" }).click();
  await page.getByRole("button", { name: "Use sample data" }).first().click();
  await page.getByText(/252 rows, about/).waitFor();
  const start = page.getByRole("button", { name: "Start job" });
  await page.getByText("25 held out for validation").waitFor();
  await page.getByLabel("Batch size").fill("1000");
  await page.getByRole("alert").getByText("Batch size = 1000").waitFor();
  assert(await start.isDisabled());
  await page.getByLabel("Batch size").fill("4");
  await page.getByLabel("Name").fill("triage");
  await page.getByText("As code").click();
  const code = page.locator(".as-code");
  await code.getByText("--set batch_size=4").waitFor();
  await code.getByLabel("Python").check();
  await code.getByText("batch_size").waitFor();
  await accessible(page, "a new fine-tune");
  await shoot(page, "new");
  await page.reload();
  await page.getByText("Your settings from before are still here.").waitFor();
  assertEquals(await page.getByLabel("Name").inputValue(), "triage");
  await page.getByText(/252 rows, about/).waitFor();

  // The same content again is the file that exists; a broken one has one entry per problem.
  const [file] = (await user.openai.files.list()).data;
  const sample = Buffer.from(await (await user.openai.files.content(file?.id ?? "")).arrayBuffer());
  const drop = page.locator('input[type="file"]').first();
  await drop.setInputFiles({ name: "copy.jsonl", mimeType: "application/jsonl", buffer: sample });
  await page.getByText(/252 rows, about/).waitFor();
  assertEquals((await user.openai.files.list()).data.length, 1);
  const broken = Array.from(
    { length: 24 },
    (_, n) => row("hi", "ok").replace(n % 2 === 0 ? '"assistant"' : "?", '"robot"'),
  );
  await drop.setInputFiles({
    name: "bad.jsonl",
    mimeType: "application/jsonl",
    buffer: Buffer.from(broken.join("\n")),
  });
  const problems = page.getByRole("region", { name: "Errors in bad.jsonl" });
  await problems.getByRole("row").filter({ hasText: "lines 1, 3, 5, 7, 9, and 7 more" }).first().waitFor();
  await accessible(page, "a broken file");
  await shoot(page, "new-broken");
  await page.getByRole("button", { name: "Start over" }).click();
  assertEquals(await page.getByLabel("Name").inputValue(), "");

  // Leaving while a file uploads asks first.
  const held = Promise.withResolvers<void>();
  await page.route("**/tunebase/files", async (route) => {
    await held.promise;
    await route.continue();
  });
  await drop.setInputFiles({ name: "more.jsonl", mimeType: "application/jsonl", buffer: Buffer.from(text) });
  await page.getByText(/^Uploading more.jsonl/).waitFor();
  const asked: string[] = [];
  page.on("dialog", (dialog) => {
    asked.push(dialog.message());
    void dialog.dismiss();
  });
  await page.getByRole("link", { name: "Files" }).click();
  assertEquals(asked, ["The upload is not complete. Leave this page and stop it?"]);
  held.resolve();
  await page.getByText(/3 rows, about/).waitFor();
  visitor.clean();
});

Deno.test("at 390 px, a menu has every page, and closes by itself", async () => {
  const user = await tunebase.user();
  await using visitor = await visit({ user });
  const { page } = visitor;
  await page.setViewportSize({ width: 390, height: 800 });
  const menu = page.getByRole("button", { name: "Menu" });
  assertEquals(await page.getByRole("link", { name: "Evaluations" }).isVisible(), false);
  await menu.click();
  await accessible(page, "the menu");
  await fits(page, "the menu");
  await page.keyboard.press("Escape");
  assertEquals(await page.getByRole("link", { name: "Evaluations" }).isVisible(), false);
  await menu.click();
  await page.getByRole("link", { name: "Evaluations" }).click();
  await page.getByRole("heading", { name: "Evaluations", exact: true }).waitFor();
  assertEquals(await page.getByRole("link", { name: "API docs" }).isVisible(), false);
  visitor.clean();
});

Deno.test("an expired session says so; a password manager's fill is submitted", async () => {
  const user = await tunebase.user("filled@example.com");
  await using visitor = await visit();
  const { page } = visitor;
  await page.goto(`${tunebase.url}/dashboard/`);
  await page.getByRole("button", { name: "Sign in" }).waitFor();
  // Values without input events, as some password managers set them.
  await page.evaluate(`document.querySelector("[name=email]").value = "filled@example.com";
    document.querySelector("[name=password]").value = "correct horse"`);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByText("No jobs yet").waitFor();
  await page.route(
    "**/tunebase/me",
    (route) =>
      route.fulfill({
        status: 401,
        json: { status: 401, detail: "The token has expired.", error: { code: "invalid_token" } },
      }),
  );
  await page.reload();
  await page.getByText("Your session has expired.").waitFor();
  await accessible(page, "an expired session");
  await page.unroute("**/tunebase/me");
  assert(user.id !== "");
});
