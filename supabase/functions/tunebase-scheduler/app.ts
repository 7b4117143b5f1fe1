/** The scheduler: the timer, and every change that needs it, call POST /tick. */
import { Hono } from "hono";
import { lazy } from "../_shared/lazy.ts";
import type { Platform } from "../_shared/platform.ts";
import { installBaseMiddleware } from "../_shared/http.ts";

/** The app as a value: `createApp(platform).fetch(request)`. */
export function createApp(platform: Platform): Hono {
  const app = new Hono().basePath("/tunebase-scheduler");
  installBaseMiddleware(app, "tunebase-scheduler", platform);
  const ticks = lazy(async () => new (await import("./tick.ts")).Ticks(platform));
  app.post("/tick", async function tick(c) {
    return await (await ticks()).answer(c.req.raw);
  });
  return app;
}
