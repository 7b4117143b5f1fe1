/** What cron and nudges wake: dispatches what is due, looks after what has gone quiet, and sends what is owed. */
import { Hono } from "hono";
import { ApiError } from "../_shared/errors.ts";
import type { Platform } from "../_shared/platform.ts";
import { deriveSecret, sameSecret } from "../_shared/secrets.ts";
import { serveErrors } from "../_shared/serving.ts";
import { Deliverer } from "./deliver.ts";
import { dispatch } from "./dispatch.ts";
import { reconcile } from "./reconcile.ts";
import { Runpod } from "./runpod.ts";

/** The app as a value: `createApp(platform).fetch(request)`. */
export function createApp(platform: Platform): Hono {
  const app = new Hono().basePath("/scheduler");
  serveErrors(app);
  const runpod = new Runpod(platform.settings);
  const deliverer = new Deliverer(platform);
  app.post("/tick", async function tick(c) {
    const given = (c.req.header("authorization") ?? "").replace(/^Bearer /, "");
    if (!await sameSecret(given, await deriveSecret(platform.settings.masterKey, "scheduler"))) {
      throw new ApiError("invalid_token", [{
        param: null,
        message: "Only the timer and Tunebase itself may call this.",
      }]);
    }
    // Beside the rest, and never longer than a second: no receiver holds up a job.
    const delivering = deliverer.tick();
    const dispatched = await dispatch(platform, runpod);
    const looked = await reconcile(platform, runpod);
    const { owed, sent } = await delivering;
    return c.json({ dispatched, looked, owed, sent });
  });
  return app;
}
