/** One server and one Chromium for all of this folder's tests in a process, which import this module once. */
import { assert } from "#assert";
import type { Page } from "playwright-core";
import { buildDashboard } from "../../local/commands/dashboard.ts";
import { sharedPage } from "../support/browser_session.ts";
import { startChromium } from "../support/chromium.ts";
import { complete } from "../support/fake_inference.ts";
import { startTunebase } from "../support/test_server.ts";

await buildDashboard((line) => console.log(line));
export const tunebase = await startTunebase({ TUNEBASE_HUB_NAMESPACES: "acme" });
const browser = await startChromium();
Deno.test.afterAll(async () => {
  await browser.close();
  await tunebase.close();
});

/** Ends the visit before: all tests share a page. */
export const visit = await sharedPage(browser, tunebase);
export const base = "SmolLM2-135M-Instruct";

export const row = (question: string, answer: string) =>
  JSON.stringify({ messages: [{ role: "user", content: question }, { role: "assistant", content: answer }] });
/** Three rows: a JSON object and two texts. */
export const text = [
  row("Who pays?", '{"team":"billing","urgent":true}'),
  row("What is due?", "A refund is due"),
  row("What else?", "Nothing else"),
].join("\n");

/** With `text`, the tuned model is right twice, the base once; both are wrong in the first row. */
export function answerLikeModels(): void {
  tunebase.inference.answer = (request) => {
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
export async function answerEvaluations(): Promise<void> {
  await tunebase.sql`update tunebase_internal.evaluation_queue set next_at = now()`;
  await tunebase.tick();
}

export async function fits(page: Page, what: string): Promise<void> {
  const wide = await page.evaluate("document.scrollingElement.scrollWidth - innerWidth") as number;
  assert(wide <= 0, `${what} is ${wide} px too wide`);
}

/** Writes pictures to look at: with TUNEBASE_SHOTS=folder. */
export async function shoot(page: Page, name: string): Promise<void> {
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
