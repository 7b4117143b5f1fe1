/** What the trainer and RunPod call. Signed by the attempt's own secret; the protocol is `_shared/protocol.ts`. */
import { Hono } from "hono";
import { bodyLimit } from "hono/body-limit";
import { ApiError } from "../_shared/errors.ts";
import type { Platform } from "../_shared/platform.ts";
import { serveApp } from "../_shared/serving.ts";
import type { CallbackEnv } from "./context.ts";
import { claim } from "./routes/claim.ts";
import { finish } from "./routes/finish.ts";
import { report } from "./routes/report.ts";
import { runpodWebhook } from "./routes/runpod_webhook.ts";
import { uploads } from "./routes/uploads.ts";
import { verify } from "./routes/verify.ts";
import { verifySignature } from "./signature.ts";

/** The app as a value: `createApp(platform).fetch(request)`. */
export function createApp(platform: Platform): Hono<CallbackEnv> {
  const app = new Hono<CallbackEnv>().basePath("/tunebase-callback");
  serveApp(app, "tunebase-callback", platform);
  app.use("*", async function providePlatform(c, next) {
    c.set("platform", platform);
    await next();
  });
  app.use(
    "*",
    bodyLimit({
      // 500 metrics and 100 log lines of full length take about 400 kB.
      maxSize: 2 ** 20,
      onError: () => {
        throw new ApiError("too_large", [{
          param: null,
          message: "A callback's body is at most 1 MiB. Send less at once.",
        }]);
      },
    }),
  );
  app.use("/attempts/:id/*", verifySignature);
  app.post("/attempts/:id/claim", claim);
  app.post("/attempts/:id/report", report);
  app.post("/attempts/:id/uploads", uploads);
  app.post("/attempts/:id/verify", verify);
  app.post("/attempts/:id/finish", finish);
  app.post("/runpod/:id/:token", runpodWebhook);
  return app;
}
