/** Somebody who looks at the dashboard in a browser of their own. */
import { assertEquals } from "#assert";
import type { Browser, BrowserContext, Page } from "playwright-core";
import type { TestUser, Tunebase } from "./test_server.ts";

const size = { width: 1280, height: 860 };

export interface Visitor extends AsyncDisposable {
  page: Page;
  context: BrowserContext;
  size: typeof size;
  /** To a page of the dashboard, until it has its heading and waits for nothing. `settled: false`: the heading alone. */
  go(path: string, settled?: boolean): Promise<void>;
  /** Fails if the page threw, or the console had an error that was not a refusal of the API's. */
  clean(): void;
}

/** Opens it; with a `user`, who is signed in, at `path`. */
export async function openDashboard(
  browser: Browser,
  tunebase: Pick<Tunebase, "url">,
  options: {
    user?: Pick<TestUser, "supabase">;
    path?: string;
    colorScheme?: "light" | "dark";
    /** Runs in each page before its own scripts. */
    script?: string;
  } = {},
): Promise<Visitor> {
  const { user, path = "jobs", colorScheme = "light" } = options;
  const context = await browser.newContext({
    viewport: size,
    colorScheme,
    acceptDownloads: true,
    timezoneId: "Europe/Berlin",
    locale: "en-GB",
  });
  context.setDefaultTimeout(30_000); // only what is broken takes so long
  const page = await context.newPage();
  const trouble: string[] = [];
  page.on("pageerror", (error) => trouble.push(String(error)));
  page.on("console", (message) => {
    if (
      message.type() === "error" &&
      !message.text().startsWith("Failed to load resource")
    ) {
      trouble.push(message.text());
    }
  });
  const visitor: Visitor = {
    page,
    context,
    size,
    async go(path, settled = true) {
      await page.goto(`${tunebase.url}/dashboard/#/${path}`);
      await page.locator("main h1").waitFor();
      if (!settled) return;
      await page.locator(".loading").first().waitFor({ state: "detached" });
    },
    clean: () => assertEquals(trouble, []),
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
