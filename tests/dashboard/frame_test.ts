/** The frame around the pages, and the session, in a real Chromium. */
import { assert, assertEquals } from "#assert";
import { accessible } from "./axe.ts";
import { fits, tunebase, visit } from "./shared.ts";

Deno.test("at 390 px, the menu lists every page and closes after navigation", async () => {
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

Deno.test("an expired session is reported, and values from a password manager are submitted", async () => {
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
