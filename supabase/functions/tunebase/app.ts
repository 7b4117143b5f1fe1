/** The HTTP API for clients: OpenAI's fine-tuning shapes, and what they lack. One route a file, under `routes/`. */
import { Hono } from "hono";
import { TrieRouter } from "hono/router/trie-router";
import { cors } from "hono/cors";
import type { Platform } from "../_shared/platform.ts";
import { answerOtherMethod, isPreflight, serveApp } from "../_shared/serving.ts";
import type { ApiEnv } from "./context.ts";
import { EventHub } from "./event_hub.ts";
import { guard } from "./middleware/guard.ts";
import type { Route } from "./routes/define.ts";
import { routes } from "./routes/index.ts";
import { unsupported } from "./routes/meta/unsupported.ts";

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
  // Hono's own choice tries a router first that does not take these paths, and ends with this one: 10 ms of the first
  // answer, of 33 (medians of ten starts, on a busy machine).
  const app = new Hono<ApiEnv>({ getPath: withoutVersion, router: new TrieRouter() }).basePath("/tunebase");
  const hub = new EventHub(platform.db);
  serveApp(app, "tunebase", platform);
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
  register(app, guard(platform));
  return app;
}

function register(app: Hono<ApiEnv>, guarded: ReturnType<typeof guard>): void {
  const add = (route: Route) => {
    // A route's path as Hono writes it.
    const path = route.path.replace(/\{(\w+)\}/g, route.slashes ? ":$1{.+}" : ":$1");
    const before = guarded(route);
    if (before !== null) app.on(route.method, path, before);
    app.on(route.method, path, route.handler);
  };
  // `/files/direct` is no `/files/{id}`: it comes first, and has the methods of its own alone.
  const fixed = routes.filter(({ path }) => !path.includes("{"));
  for (const [path, ones] of Map.groupBy(fixed, ({ path }) => path)) {
    ones.forEach(add);
    const methods = ones.flatMap(({ method }) => method === "GET" ? ["GET", "HEAD"] : [method]);
    app.all(path, (c) => answerOtherMethod(c, methods));
  }
  routes.filter(({ path }) => path.includes("{")).forEach(add);
  for (const { path, handler } of unsupported) {
    const before = guarded({ method: "GET", scope: "any" });
    if (before !== null) app.all(path, before);
    app.all(path, handler);
  }
}
