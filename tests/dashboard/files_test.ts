/** A data file's page in a real Chromium. */
import { assert, assertEquals } from "#assert";
import { accessible } from "./axe.ts";
import { fits, row, shoot, tunebase, visit } from "./shared.ts";

Deno.test("a file's page shows row lengths on two scales, truncation, and rows shared with another file", async () => {
  const user = await tunebase.user();
  const upload = async (name: string, rows: string[]) =>
    (await user.openai.files.create({
      file: new File([rows.join("\n")], name),
      purpose: "fine-tune",
    })).id;
  const short = Array.from(
    { length: 40 },
    (_, n) => row(`Question ${n}?`, "Yes, ".repeat(20 + n)),
  );
  const long = row("Tell me everything.", "word ".repeat(3000));
  const training_file = await upload("train.jsonl", [
    ...short,
    short[0] ?? "",
    long,
  ]);
  const validation_file = await upload("valid.jsonl", [
    ...short.slice(0, 3),
    row("New?", "Yes"),
  ]);
  await using visitor = await visit({ user, path: `files/${training_file}` });
  const { page } = visitor;

  const lengths = page.getByRole("region", { name: "Row lengths" });
  await lengths.getByText(
    "1 of 42 rows (2.4%) exceeds 2,048 tokens and is truncated from the start.",
  )
    .waitFor();
  const bars = lengths.locator(".histogram li");
  assertEquals(
    await bars.first().getAttribute("title"),
    "1 to 64 tokens: 30 rows",
  );
  const height = async (n: number) => (await bars.nth(n).locator("i").boundingBox())?.height ?? 0;
  const last = await bars.count() - 1;
  const linear = await height(last);
  await lengths.getByLabel("logarithmic").check();
  assert(
    await height(last) > 2 * linear,
    "a single row is visible on the logarithmic scale",
  );
  assertEquals(await bars.nth(last).getAttribute("class"), "long");
  await lengths.getByLabel("Max length").selectOption("256");
  await lengths.getByText("exceeds 256 tokens").waitFor();
  assertEquals(
    await lengths.getByRole("row").nth(1).getByRole("cell").first().innerText(),
    "about 3,755",
  );
  await page.getByText("line 41 repeats line 1").waitFor();

  await page.getByLabel("Compare with").selectOption(validation_file);
  await page.getByText(
    "3 of 41 distinct rows of train.jsonl are also in valid.jsonl, which has 4.",
  )
    .waitFor();
  await accessible(page, "a file");
  await page.setViewportSize({ width: 390, height: 800 });
  await fits(page, "a file");
  await page.setViewportSize(visitor.size);
  await shoot(page, "file-lengths");

  await visitor.go(
    `new?${new URLSearchParams({ training_file, validation_file })}`,
  );
  await page.getByText(
    "3 of 4 distinct validation rows are also in the training data,",
  ).waitFor();
  await accessible(page, "a new fine-tune that trains on validation rows");
  await shoot(page, "new-overlap");

  // A viewer cannot estimate, but sees the lengths and the overlap.
  await tunebase.sql`update tunebase.project_members set role = 'viewer' where user_id = ${user.id}`;
  await visitor.go(`files/${training_file}`);
  await page.reload();
  await lengths.getByText("Rows by length in tokens").waitFor();
  await page.getByLabel("Compare with").selectOption(validation_file);
  await page.getByText("3 of 41 distinct rows").waitFor();
  assertEquals(await page.getByLabel("Max length").count(), 0);
  visitor.clean();
});
