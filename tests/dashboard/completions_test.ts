/** Stored completions, and usage with inference, in a real Chromium. */
import { assertEquals, assertStringIncludes } from "#assert";
import { complete } from "../support/fake_inference.ts";
import { accessible } from "./axe.ts";
import { base, fits, shoot, tunebase, visit } from "./shared.ts";

const { inference, sql } = tunebase;
await sql`update tunebase.base_models set inference_usd_per_million_output_tokens = 1000`;

Deno.test("an owner can turn storing on and create a dataset from matching completions", async () => {
  const user = await tunebase.user();
  await using visitor = await visit({ user, path: "completions" });
  const { page } = visitor;
  await page.getByText("No stored completions yet").waitFor();
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
