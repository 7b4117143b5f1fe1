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

interface VisitOptions {
  user?: Pick<TestUser, "supabase">;
  path?: string;
  colorScheme?: "light" | "dark";
}

/** Opens the dashboard in a context of its own; with a `user`, signed in and at `path`. */
export async function openDashboard(
  browser: Browser,
  tunebase: Pick<Tunebase, "url">,
  options: VisitOptions & {
    /** Runs in each page before its scripts. */
    script?: string;
  } = {},
): Promise<BrowserSession> {
  const { user, path = "jobs", script } = options;
  const visitor = await newSession(browser, tunebase, options.colorScheme);
  const { context } = visitor;
  if (script !== undefined) await context.addInitScript(script);
  if (user !== undefined) {
    await context.addInitScript(await signIn(user));
    await visitor.go(path, script === undefined);
  }
  return visitor;
}

/**
 * Visits of one page, one after the other. Each begins without stored data, routes or listeners of the one before, in a new
 * document. A context of its own would start a process, which compiles the dashboard and axe again: twice the CPU time.
 */
export async function sharedPage(
  browser: Browser,
  tunebase: Pick<Tunebase, "url">,
): Promise<(options?: VisitOptions) => Promise<BrowserSession>> {
  const visitor = await newSession(browser, tunebase);
  const { page, context } = visitor;
  return async ({ user, path = "jobs", colorScheme = "light" } = {}) => {
    for (const event of ["dialog", "response"] as const) page.removeAllListeners(event);
    await page.unrouteAll({ behavior: "ignoreErrors" });
    await context.setOffline(false);
    await context.clearPermissions();
    await page.setViewportSize(size);
    await page.emulateMedia({ colorScheme });
    // A document of the same origin without the dashboard's scripts.
    await page.goto(`${tunebase.url}/dashboard/config.json`);
    await page.evaluate("localStorage.clear(); sessionStorage.clear()");
    visitor.errors.length = 0;
    if (user !== undefined) {
      await page.evaluate(await signIn(user));
      await visitor.go(path);
    }
    return { ...visitor, [Symbol.asyncDispose]: () => Promise.resolve() };
  };
}

async function newSession(
  browser: Browser,
  tunebase: Pick<Tunebase, "url">,
  colorScheme: "light" | "dark" = "light",
): Promise<BrowserSession & { errors: string[] }> {
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
  return {
    page,
    context,
    size,
    errors,
    async go(path, settled = true) {
      await page.goto(`${tunebase.url}/dashboard/#/${path}`);
      await page.locator("main h1").waitFor();
      if (!settled) return;
      await page.locator(".loading").first().waitFor({ state: "detached" });
    },
    clean: () => assertEquals(errors, []),
    [Symbol.asyncDispose]: () => context.close(),
  };
}

/** A script that stores the user's session. */
async function signIn({ supabase }: Pick<TestUser, "supabase">): Promise<string> {
  const { data } = await supabase.auth.getSession();
  return `localStorage.setItem("tunebase-session", ${JSON.stringify(JSON.stringify(data.session))})`;
}
