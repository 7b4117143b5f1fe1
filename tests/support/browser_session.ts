/** A browser session on the dashboard. */
import { assertEquals } from "#assert";
import type { Browser, BrowserContext, Page } from "playwright-core";
import type { TestUser, Tunebase } from "./test_server.ts";

const size = { width: 1280, height: 860 };

export interface BrowserSession extends AsyncDisposable {
  page: Page;
  context: BrowserContext;
  size: typeof size;
  /** Opens a page and waits for its heading and data; `settled: false` waits only for the heading. */
  go(path: string, settled?: boolean): Promise<void>;
  /** Fails if the page threw or logged an error, other than API errors. */
  clean(): void;
}

/** Opens the dashboard; with a `user`, signed in and at `path`. */
export async function openDashboard(
  browser: Browser,
  tunebase: Pick<Tunebase, "url">,
  options: {
    user?: Pick<TestUser, "supabase">;
    path?: string;
    colorScheme?: "light" | "dark";
    /** Runs in each page before its scripts. */
    script?: string;
  } = {},
): Promise<BrowserSession> {
  const { user, path = "jobs", colorScheme = "light" } = options;
  const context = await browser.newContext({
    viewport: size,
    colorScheme,
    acceptDownloads: true,
    timezoneId: "Europe/Berlin",
    locale: "en-GB",
  });
  context.setDefaultTimeout(30_000); // only failures take this long
  const page = await context.newPage();
  const errors: string[] = [];
  page.on("pageerror", (error) => errors.push(String(error)));
  page.on("console", (message) => {
    if (message.type() === "error" && !message.text().startsWith("Failed to load resource")) {
      errors.push(message.text());
    }
  });
  const visitor: BrowserSession = {
    page,
    context,
    size,
    async go(path, settled = true) {
      await page.goto(`${tunebase.url}/dashboard/#/${path}`);
      await page.locator("main h1").waitFor();
      if (!settled) return;
      await page.locator(".loading").first().waitFor({ state: "detached" });
    },
    clean: () => assertEquals(errors, []),
    [Symbol.asyncDispose]: () => context.close(),
  };
  if (options.script !== undefined) await context.addInitScript(options.script);
  if (user !== undefined) {
    const { data } = await user.supabase.auth.getSession();
    const session = JSON.stringify(data.session);
    await context.addInitScript(
      `localStorage.setItem("tunebase-session", ${JSON.stringify(session)})`,
    );
    await visitor.go(path, options.script === undefined);
  }
  return visitor;
}
