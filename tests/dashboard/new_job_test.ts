/** The form of a new fine-tune in a real Chromium. */
import { assert, assertEquals } from "#assert";
import { Buffer } from "node:buffer";
import { accessible } from "./axe.ts";
import { row, shoot, text, tunebase, visit } from "./shared.ts";

Deno.test("a new fine-tune can use sample data, groups problems, survives a reload, and shows code to copy", async () => {
  const user = await tunebase.user();
  await using visitor = await visit({ user, path: "jobs" });
  const { page } = visitor;
  await page.getByRole("heading", { name: "No jobs yet" }).waitFor();
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
  await page.getByText("Advanced settings").click();
  const repository = page.getByLabel("Hugging Face repository");
  await repository.fill("other/support-bot");
  await page.getByRole("alert").getByText('Hugging Face repository = "other/support-bot"').waitFor();
  await repository.fill("acme/support-bot");
  await page.getByLabel("Visibility").selectOption("public");
  await page.getByText("As code").click();
  const code = page.locator(".as-code");
  await code.getByText("--set batch_size=4").waitFor();
  await code.getByText("--push-to-hub acme/support-bot").waitFor();
  await code.getByLabel("Python").check();
  await code.getByText("batch_size").waitFor();
  await accessible(page, "a new fine-tune");
  await shoot(page, "new");
  await page.reload();
  await page.getByText("Your previous settings were restored.").waitFor();
  assertEquals(await page.getByLabel("Name").inputValue(), "triage");
  assertEquals(await repository.inputValue(), "acme/support-bot");
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
  await page.getByText("bad.jsonl was not uploaded. 12 rows have errors.").waitFor();
  const problems = page.getByRole("region", { name: "Errors in bad.jsonl" });
  await problems.getByRole("row").filter({ hasText: "lines 1, 3, 5, 7, 9, and 7 more" }).first().waitFor();
  await accessible(page, "a broken file");
  await shoot(page, "new-broken");
  await drop.setInputFiles({
    name: "columns.csv",
    mimeType: "text/csv",
    buffer: Buffer.from("frage,antwort\nWer?,Ich"),
  });
  await page.getByText("columns.csv was not uploaded. It cannot be used as training data.").waitFor();
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
