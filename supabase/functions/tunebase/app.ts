/** The HTTP API for clients: OpenAI's fine-tuning shapes, and what they lack. One route a file, under `routes/`. */
import { Hono } from "hono";
import { TrieRouter } from "hono/router/trie-router";
import { cors } from "hono/cors";
import { lazy } from "../_shared/lazy.ts";
import type { Platform } from "../_shared/platform.ts";
import { installBaseMiddleware, isPreflight, respondMethodNotAllowed } from "../_shared/http.ts";
import type { ApiEnv } from "./context.ts";
import type { guard } from "./middleware/index.ts";
import type { Route } from "./routes/define.ts";
import { resources } from "./routes/index.ts";

const stainless = [
  "lang",
  "package-version",
  "os",
  "arch",
  "runtime",
  "runtime-version",
  "retry-count",
  "timeout",
  "helper-method",
];

/** Many clients expect a base URL that ends in /v1: both …/tunebase and …/tunebase/v1 are answered. */
const withoutVersion = (request: Request) =>
  new URL(request.url).pathname.replace(/^\/tunebase\/v1(?=\/|$)/, "/tunebase");

/** The app as a value: `createApp(platform).fetch(request)`. */
export function createApp(platform: Platform): Hono<ApiEnv> {
  // The default router would build one regular expression of all routes at the first request, find that it cannot hold
  // them, and then build this one; and it takes no routes after that.
  const app = new Hono<ApiEnv>({ getPath: withoutVersion, router: new TrieRouter() }).basePath("/tunebase");
  const hub = lazy(async () => new (await import("./event_hub.ts")).EventHub(platform.db));
  installBaseMiddleware(app, "tunebase", platform);
  const allowBrowsers = cors({
    origin: "*",
    allowMethods: ["GET", "HEAD", "POST", "DELETE"],
    allowHeaders: [
      // Supabase's own clients send apikey and x-client-info.
      "apikey",
      "authorization",
      "content-type",
      "idempotency-key",
      "if-match",
      "if-none-match",
      "last-event-id",
      "openai-organization",
      "openai-project",
      "x-client-info",
      "x-request-id",
      ...stainless.map((name) => `x-stainless-${name}`),
    ],
    exposeHeaders: [
      "content-disposition",
      "etag",
      "idempotent-replayed",
      "ratelimit",
      "ratelimit-policy",
      "retry-after",
      "retry-after-ms",
      "x-request-id",
      "x-should-retry",
    ],
    maxAge: 7200,
  });
  app.use("*", async function answerBrowsers(c, next) {
    // Hono's `cors` would answer any OPTIONS; one that is no preflight asks which methods a path has.
    if (c.req.method === "OPTIONS" && !isPreflight(c)) return await next();
    return await allowBrowsers(c, next);
  });
  app.use("*", async function providePlatform(c, next) {
    c.set("platform", platform);
    c.set("hub", hub);
    await next();
  });
  return loadingOnFirstUse(app, platform);
}

/** A resource's routes are loaded and registered by the first request below its part of the path. */
function loadingOnFirstUse(app: Hono<ApiEnv>, platform: Platform): Hono<ApiEnv> {
  const guarded = lazy(async () => (await import("./middleware/index.ts")).guard(platform));
  const loads = new Map(resources.flatMap(({ under, load, refuse }) => {
    const once = lazy(async () => {
      const [before, routes, unsupported] = await Promise.all([guarded(), load(), refuse?.()]);
      register(app, before, routes);
      for (const { path, handler } of unsupported ?? []) {
        app.all(path, before({ method: "GET", scope: "any" }), handler);
      }
    });
    return under.map((segment) => [segment, once] as const);
  }));
  const { fetch } = app;
  app.fetch = async function loadThenFetch(request, ...rest) {
    await loads.get(withoutVersion(request).split("/")[2] ?? "")?.();
    return await fetch(request, ...rest);
  };
  return app;
}

function register(app: Hono<ApiEnv>, before: ReturnType<typeof guard>, routes: Route[]): void {
  // `/files/direct` is no `/files/{id}`: it comes first, and has the methods of its own alone.
  const sorted = routes.toSorted((a, b) => Number(a.path.includes("{")) - Number(b.path.includes("{")));
  for (const [declared, ones] of Map.groupBy(sorted, ({ path }) => path)) {
    // As Hono writes it.
    const path = declared.replace(/\{(\w+)\}/g, ones.some(({ slashes }) => slashes) ? ":$1{.+}" : ":$1");
    for (const route of ones) app.on(route.method, path, before(route), route.handler);
    // Hono's method-not-allowed does not see routes that are added after its first 404.
    const methods = ones.flatMap(({ method }) => method === "GET" ? ["GET", "HEAD"] : [method]);
    app.all(path, (c) => respondMethodNotAllowed(c, methods));
  }
}
