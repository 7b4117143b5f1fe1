/** Runs side by side in a real Chromium. */
import { assertEquals, assertStringIncludes } from "#assert";
import { FakeWorker, latestAttempt } from "../support/fake_worker.ts";
import type { TestUser } from "../support/test_server.ts";
import { accessible } from "./axe.ts";
import { answerEvaluations, answerLikeModels, base, fits, shoot, text, tunebase, visit } from "./shared.ts";

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
  const small = await trainedWith(user, id, "small", { n_epochs: 2, batch_size: 1 }, 2);
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

  // Evaluations after the runs: of none, then of the first.
  await page.getByText("None of these runs has been evaluated since it ended.").waitFor();
  const scores = page.getByRole("region", { name: "Evaluation scores" });
  const evaluate = scores.getByRole("link", { name: "Evaluate large" });
  assertStringIncludes(await evaluate.getAttribute("href") ?? "", "#/evaluations/new?model=ft%3A");
  const { fine_tuned_model } = await user.openai.fineTuning.jobs.retrieve(small.id);
  answerLikeModels();
  await user.fetch("/evaluations", {
    method: "POST",
    body: JSON.stringify({ models: [fine_tuned_model, base], file: id, name: "held out" }),
  });
  await answerEvaluations();
  await page.reload();
  await scores.getByRole("link", { name: "held out" }).waitFor();
  const cells = (name: string) => scores.getByRole("row", { name }).getByRole("cell").allInnerTexts();
  assertEquals(await cells("Exact match"), ["66.7% (base 33.3%)", "–", "–"]);
  assertEquals(await cells("Correct JSON fields"), ["50% (base 0%)", "–", "–"]);
  assertStringIncludes(
    await evaluate.getAttribute("href") ?? "",
    `file=${id}`,
  );
  assertEquals(
    await page.getByRole("combobox", { name: /^File/ }).locator("option").allInnerTexts(),
    ["rows.jsonl (1 of 3 runs)"],
  );
  await accessible(page, "compared runs with an evaluation");
  await page.setViewportSize({ width: 390, height: 800 });
  await fits(page, "compared runs with an evaluation");
  await page.setViewportSize(visitor.size);
  await shoot(page, "compare-evaluated");
  await results.getByRole("button", { name: "Remove small" }).click();
  await results.getByRole("columnheader", { name: "small" }).waitFor({ state: "detached" });
  visitor.clean();
});
