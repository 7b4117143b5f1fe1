/** Deque's axe over a page as it is. */
import { assertEquals } from "#assert";
import axe from "axe-core";
import type { Page } from "playwright-core";

/** Fails with details if axe finds a serious or critical violation. */
export async function accessible(page: Page, what: string): Promise<void> {
  // Through the debugger, to which the page's content security policy does not apply.
  await page.evaluate(axe.source);
  const found = await page.evaluate(
    "axe.run(document, { resultTypes: ['violations'] })",
  ) as axe.AxeResults;
  const serious = found.violations.filter(({ impact }) => impact === "serious" || impact === "critical");
  assertEquals(
    serious.flatMap(({ id, nodes }) =>
      nodes.map(({ html, failureSummary }) => `${id}: ${html} ${failureSummary}`)
    ),
    [],
    `axe: ${what}`,
  );
}
