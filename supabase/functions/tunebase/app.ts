/** The HTTP API: OpenAI's fine-tuning API with additions. Routes are in `routes/`, one folder per resource. */
import { Hono } from "hono";
import { TrieRouter } from "hono/router/trie-router";
import { cors } from "hono/cors";
import { lazy } from "../_shared/lazy.ts";
import type { Platform } from "../_shared/platform.ts";
import { installBaseMiddleware, isPreflight, respondMethodNotAllowed } from "../_shared/http.ts";
import type { ApiEnv } from "./context.ts";
import type { apiMiddleware } from "./middleware/index.ts";
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

/** Many clients expect a base URL that ends in /v1, so …/tunebase and …/tunebase/v1 are equivalent. */
const withoutVersion = (request: Request) =>
  new URL(request.url).pathname.replace(/^\/tunebase\/v1(?=\/|$)/, "/tunebase");

/** The app as a value: `createApp(platform).fetch(request)`. */
export function createApp(platform: Platform): Hono<ApiEnv> {
  // The default router first tries to compile all routes into one regular expression, fails, and falls back to this one.
  // It also accepts no routes after the first request.
  const app = new Hono<ApiEnv>({ getPath: withoutVersion, router: new TrieRouter() }).basePath("/tunebase");
  const hub = lazy(async () => new (await import("./event_hub.ts")).EventHub(platform.db));
  installBaseMiddleware(app, "tunebase", platform);
  const allowBrowsers = cors({
    origin: "*",
    allowMethods: ["GET", "HEAD", "POST", "DELETE"],
    allowHeaders: [
      // Supabase clients send apikey and x-client-info.
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
  app.use("*", async function handleCors(c, next) {
    // Hono's `cors` would answer every OPTIONS request, but one that is not a preflight asks for a path's methods.
    if (c.req.method === "OPTIONS" && !isPreflight(c)) return await next();
    return await allowBrowsers(c, next);
  });
  app.use("*", async function providePlatform(c, next) {
    c.set("platform", platform);
    c.set("hub", hub);
    await next();
  });
  return withLazyRoutes(app, platform);
}

/** Loads and registers a resource's routes on the first request below its path. */
function withLazyRoutes(app: Hono<ApiEnv>, platform: Platform): Hono<ApiEnv> {
  const middleware = lazy(async () => (await import("./middleware/index.ts")).apiMiddleware(platform));
  const loaders = new Map(resources.flatMap(({ segments, load, loadUnsupported }) => {
    const loadOnce = lazy(async () => {
      const [before, routes, unsupported] = await Promise.all([middleware(), load(), loadUnsupported?.()]);
      register(app, before, routes);
      for (const { path, handler } of unsupported ?? []) {
        app.all(path, before({ method: "GET", scope: "any" }), handler);
      }
    });
    return segments.map((segment) => [segment, loadOnce] as const);
  }));
  const { fetch } = app;
  app.fetch = async function loadThenFetch(request, ...rest) {
    await loaders.get(withoutVersion(request).split("/")[2] ?? "")?.();
    return await fetch(request, ...rest);
  };
  return app;
}

function register(app: Hono<ApiEnv>, before: ReturnType<typeof apiMiddleware>, routes: Route[]): void {
  // Fixed paths first: `/files/direct` must not match `/files/{id}`.
  const sorted = routes.toSorted((a, b) => Number(a.path.includes("{")) - Number(b.path.includes("{")));
  for (const [declared, pathRoutes] of Map.groupBy(sorted, ({ path }) => path)) {
    // In Hono's syntax.
    const path = declared.replace(
      /\{(\w+)\}/g,
      pathRoutes.some(({ slashes }) => slashes) ? ":$1{.+}" : ":$1",
    );
    for (const route of pathRoutes) app.on(route.method, path, before(route), route.handler);
    // Hono's method-not-allowed ignores routes that are added after its first 404.
    const methods = pathRoutes.flatMap(({ method }) => method === "GET" ? ["GET", "HEAD"] : [method]);
    app.all(path, (c) => respondMethodNotAllowed(c, methods));
  }
}
