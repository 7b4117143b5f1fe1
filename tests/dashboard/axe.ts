/** Deque's axe over a page as it is. */
import { assertEquals } from "#assert";
import axe from "axe-core";
import type { Page } from "playwright-core";

/**
 * Fails with details if axe finds a serious or critical violation. `rules` restricts the run to some rules: another color
 * scheme changes only colors.
 */
export async function accessible(page: Page, what: string, rules?: string[]): Promise<void> {
  // Through the debugger, to which the page's content security policy does not apply.
  if (await page.evaluate("!globalThis.axe")) await page.evaluate(axe.source);
  // Its preloading of styles and media serves rules that are off or about videos.
  const options = {
    resultTypes: ["violations"],
    preload: false,
    ...(rules === undefined ? {} : { runOnly: rules }),
  };
  const found = await page.evaluate(`axe.run(document, ${JSON.stringify(options)})`) as axe.AxeResults;
  const serious = found.violations.filter(({ impact }) => impact === "serious" || impact === "critical");
  assertEquals(
    serious.flatMap(({ id, nodes }) =>
      nodes.map(({ html, failureSummary }) => `${id}: ${html} ${failureSummary}`)
    ),
    [],
    `axe: ${what}`,
  );
}
