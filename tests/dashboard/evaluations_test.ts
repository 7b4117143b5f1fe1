/** A finished job, up to the evaluation of its model, in a real Chromium. */
import { assertEquals, assertStringIncludes } from "#assert";
import { createJob, trainedJob } from "../support/fake_worker.ts";
import { accessible } from "./axe.ts";
import {
  answerEvaluations,
  answerLikeModels,
  base,
  fits,
  row,
  shoot,
  text,
  tunebase,
  visit,
} from "./shared.ts";

const { sql } = tunebase;

Deno.test("a finished job's page leads to the next steps, including an evaluation against the base model", async () => {
  const user = await tunebase.user();
  const job = await trainedJob(tunebase, user, await createJob(user, {}, text));
  const hubUrl = "https://huggingface.co/acme/support-bot";
  await sql`
    update tunebase.jobs set hub_url = ${hubUrl},
      plan = plan || '{"huggingface": {"repo": "acme/support-bot", "private": true}}'
    where fine_tuned_model = ${job.fine_tuned_model}`;
  const partly = await user.openai.files.create({
    file: new File([`${text.split("\n")[0]}\n${row("New?", "Yes")}`], "partly.jsonl"),
    purpose: "fine-tune",
  });
  await using visitor = await visit({ user, path: `jobs/${job.id}` });
  const { page } = visitor;
  const result = page.getByRole("region", { name: "Your model is ready" });
  await result.getByRole("heading", { name: "Try it" }).waitFor();
  const pushed = result.getByRole("link", { name: "acme/support-bot" });
  assertEquals(await pushed.getAttribute("href"), hubUrl);
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
  const files = page.getByLabel("Or choose an uploaded file");
  await files.selectOption(partly.id);
  await page.getByText("1 of 2 distinct rows were in the model's training data.").waitFor();
  await files.selectOption(job.training_file);
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

Deno.test("an evaluation can be cancelled and deleted; a viewer cannot create one", async () => {
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
  await sql`update tunebase.project_members set role = 'viewer' where user_id = ${user.id}`;
  await page.reload();
  await page.getByText("No evaluations yet").waitFor();
  assertEquals(await page.getByRole("link", { name: /evaluation$/i }).count(), 0);
  visitor.clean();
});
