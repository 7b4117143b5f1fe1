/** What the trainer and RunPod call. Signed by the attempt's own secret; the protocol is `_shared/protocol.ts`. */
import { Hono } from "hono";
import { bodyLimit } from "hono/body-limit";
import { ApiError } from "../_shared/errors.ts";
import { lazy, lazyRoutes } from "../_shared/lazy.ts";
import type { Platform } from "../_shared/platform.ts";
import { installBaseMiddleware } from "../_shared/http.ts";
import type { CallbackContext, CallbackEnv } from "./context.ts";

const on = lazyRoutes<CallbackContext>();

/** Each is loaded by the first request that needs it. */
const claim = () => import("./routes/claim.ts");
const finish = () => import("./routes/finish.ts");
const report = () => import("./routes/report.ts");
const runpodWebhook = () => import("./routes/runpod_webhook.ts");
const signature = lazy(() => import("./signature.ts"));
const uploads = () => import("./routes/uploads.ts");
const verify = () => import("./routes/verify.ts");

/** The app as a value: `createApp(platform).fetch(request)`. */
export function createApp(platform: Platform): Hono<CallbackEnv> {
  const app = new Hono<CallbackEnv>().basePath("/tunebase-callback");
  installBaseMiddleware(app, "tunebase-callback", platform);
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
  app.use("/attempts/:id/*", async function verifySignature(c, next) {
    return await (await signature()).verifySignature(c, next);
  });
  app.post("/attempts/:id/claim", on(claim, "claim"));
  app.post("/attempts/:id/report", on(report, "report"));
  app.post("/attempts/:id/uploads", on(uploads, "uploads"));
  app.post("/attempts/:id/verify", on(verify, "verify"));
  app.post("/attempts/:id/finish", on(finish, "finish"));
  app.post("/runpod/:id/:token", on(runpodWebhook, "runpodWebhook"));
  return app;
}
