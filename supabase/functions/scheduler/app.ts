/** What cron and nudges wake: enforces caps, dispatches what is due, looks after what has gone quiet, sweeps. */
import { Hono } from "hono";
import { call } from "../_shared/database.ts";
import { ApiError } from "../_shared/errors.ts";
import type { Platform } from "../_shared/platform.ts";
import { deriveSecret, sameSecret } from "../_shared/secrets.ts";
import { serveApp } from "../_shared/serving.ts";
import { dispatch } from "./dispatch.ts";
import { reconcile } from "./reconcile.ts";
import { Runpod } from "./runpod.ts";
import { sweep } from "./sweep.ts";

/** The app as a value: `createApp(platform).fetch(request)`. */
export function createApp(platform: Platform): Hono {
  const app = new Hono().basePath("/scheduler");
  serveApp(app, "scheduler", platform);
  const runpod = new Runpod(platform.settings);
  app.post("/tick", async function tick(c) {
    const given = (c.req.header("authorization") ?? "").replace(/^Bearer /, "");
    if (!await sameSecret(given, await deriveSecret(platform.settings.masterKey, "scheduler"))) {
      throw new ApiError("invalid_token", [{
        param: null,
        message: "Only the timer and Tunebase itself may call this.",
      }]);
    }
    // Caps first, so that nothing is paid for that must not be. Then side by side: a queue that drains, or a RunPod that
    // hangs, holds nothing else up.
    const overspent = await call<number>(platform.sql, "enforce_spend");
    const [dispatched, looked, swept] = await Promise.all([
      dispatch(platform, runpod),
      reconcile(platform, runpod),
      sweep(platform),
    ]);
    return c.json({ overspent, dispatched, looked, swept });
  });
  return app;
}
