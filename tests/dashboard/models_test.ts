/** The list of models in a real Chromium. */
import { assertEquals } from "#assert";
import { trainedJob } from "../support/fake_worker.ts";
import { accessible } from "./axe.ts";
import { shoot, tunebase, visit } from "./shared.ts";

const { inference, sql } = tunebase;

Deno.test("the list shows whether models can be called, and loads them on request", async () => {
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
