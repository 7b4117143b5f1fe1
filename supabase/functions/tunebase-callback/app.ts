/** Callbacks from the trainer, signed with the attempt's own secret (protocol: `_shared/protocol.ts`), and from RunPod. */
import { Hono } from "hono";
import { bodyLimit } from "hono/body-limit";
import { ApiError } from "../_shared/errors.ts";
import { installBaseMiddleware } from "../_shared/http.ts";
import { lazy } from "../_shared/lazy.ts";
import type { Platform } from "../_shared/platform.ts";
import type { CallbackEnv } from "./context.ts";

const claim = lazy(() => import("./routes/claim.ts"));
const finish = lazy(() => import("./routes/finish.ts"));
const report = lazy(() => import("./routes/report.ts"));
const runpodWebhook = lazy(() => import("./routes/runpod_webhook.ts"));
const signature = lazy(() => import("./signature.ts"));
const uploads = lazy(() => import("./routes/uploads.ts"));
const verify = lazy(() => import("./routes/verify.ts"));

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
      // 500 metrics and 100 log lines of maximum length take about 400 kB.
      maxSize: 2 ** 20,
      onError: () => {
        throw new ApiError("too_large", [{
          param: null,
          message: "The body is larger than 1 MiB. Send fewer metrics and events per call.",
        }]);
      },
    }),
  );
  app.use("/attempts/:id/*", async function verifySignature(c, next) {
    return await (await signature()).verifySignature(c, next);
  });
  app.post("/attempts/:id/claim", async (c) => (await claim()).claim(c));
  app.post("/attempts/:id/report", async (c) => (await report()).report(c));
  app.post("/attempts/:id/uploads", async (c) => (await uploads()).uploads(c));
  app.post("/attempts/:id/verify", async (c) => (await verify()).verify(c));
  app.post("/attempts/:id/finish", async (c) => (await finish()).finish(c));
  app.post("/runpod/:id/:token", async (c) => (await runpodWebhook()).runpodWebhook(c));
  return app;
}
