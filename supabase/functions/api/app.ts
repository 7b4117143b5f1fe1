/** The HTTP API for clients: OpenAI's fine-tuning shapes, and what they lack. One route a file, under `routes/`. */
import { Hono } from "hono";
import { cors } from "hono/cors";
import type { Platform } from "../_shared/platform.ts";
import { serveErrors } from "../_shared/serving.ts";
import { authenticate } from "./auth.ts";
import type { ApiEnv } from "./context.ts";
import { cancelJob, pauseJob, resumeJob, startJob } from "./routes/job_move.ts";
import { addPart } from "./routes/upload_part.ts";
import { cancelUpload, completeUpload, createUpload } from "./routes/upload.ts";
import { completeDirect, createDirect, getDirect } from "./routes/file_direct.ts";
import { createFile } from "./routes/file_create.ts";
import { createEstimate } from "./routes/estimate_create.ts";
import { createJob } from "./routes/job_create.ts";
import { deleteFile } from "./routes/file_delete.ts";
import { getAdapter, getCheckpointAdapter } from "./routes/job_adapter.ts";
import { getFile } from "./routes/file_get.ts";
import { getFileContent } from "./routes/file_content.ts";
import { getJob } from "./routes/job_get.ts";
import { EventHub } from "./event_hub.ts";
import { getMetrics } from "./routes/job_metrics.ts";
import { listCheckpoints } from "./routes/job_checkpoints.ts";
import { health } from "./routes/health.ts";
import { checkpointPermissions, graders } from "./routes/not_offered.ts";
import { listEvents } from "./routes/job_events.ts";
import { listFiles } from "./routes/file_list.ts";
import { listJobs } from "./routes/job_list.ts";
import { deleteModel, getModel, listModels } from "./routes/models.ts";
import * as channels from "./routes/notification_channels.ts";
import { listNotifications, readAllNotifications, readNotification } from "./routes/notifications.ts";
import * as deliveries from "./routes/webhook_deliveries.ts";
import * as endpoints from "./routes/webhook_endpoints.ts";
import { rotateSecret } from "./routes/webhook_secret.ts";
import { testEndpoint } from "./routes/webhook_test.ts";

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

/** The app as a value: `createApp(platform).fetch(request)`. */
export function createApp(platform: Platform): Hono<ApiEnv> {
  const app = new Hono<ApiEnv>().basePath("/api");
  const hub = new EventHub(platform.sql);
  serveErrors(app);
  app.use(
    "*",
    cors({
      origin: "*",
      allowMethods: ["GET", "POST", "DELETE"],
      allowHeaders: [
        "authorization",
        "content-type",
        "idempotency-key",
        "last-event-id",
        "openai-organization",
        "openai-project",
        ...stainless.map((name) => `x-stainless-${name}`),
      ],
      exposeHeaders: ["x-request-id", "retry-after", "retry-after-ms", "x-should-retry"],
    }),
  );
  app.use("*", async function providePlatform(c, next) {
    c.set("platform", platform);
    c.set("hub", hub);
    await next();
  });
  app.get("/health", health);

  const authenticated = authenticate(platform.settings);
  app.use("/files/*", authenticated);
  app.use("/uploads/*", authenticated);
  app.use("/fine_tuning/*", authenticated);
  app.use("/models/*", authenticated);
  app.use("/webhook_endpoints/*", authenticated);
  app.use("/webhook_event_types/*", authenticated);
  app.use("/webhook_deliveries/*", authenticated);
  app.use("/notifications/*", authenticated);
  app.use("/notification_channels/*", authenticated);

  app.post("/files", createFile);
  app.get("/files", listFiles);
  app.post("/files/direct", createDirect);
  app.get("/files/direct/:id", getDirect);
  app.post("/files/direct/:id/complete", completeDirect);
  app.get("/files/:id", getFile);
  app.get("/files/:id/content", getFileContent);
  app.delete("/files/:id", deleteFile);

  app.post("/uploads", createUpload);
  app.post("/uploads/:id/parts", addPart);
  app.post("/uploads/:id/complete", completeUpload);
  app.post("/uploads/:id/cancel", cancelUpload);

  app.post("/fine_tuning/estimates", createEstimate);
  app.post("/fine_tuning/jobs", createJob);
  app.get("/fine_tuning/jobs", listJobs);
  app.get("/fine_tuning/jobs/:id", getJob);
  app.post("/fine_tuning/jobs/:id/cancel", cancelJob);
  app.post("/fine_tuning/jobs/:id/pause", pauseJob);
  app.post("/fine_tuning/jobs/:id/resume", resumeJob);
  app.post("/fine_tuning/jobs/:id/start", startJob);
  app.get("/fine_tuning/jobs/:id/events", listEvents);
  app.get("/fine_tuning/jobs/:id/metrics", getMetrics);
  app.get("/fine_tuning/jobs/:id/checkpoints", listCheckpoints);
  app.get("/fine_tuning/jobs/:id/checkpoints/:checkpoint/adapter", getCheckpointAdapter);
  app.get("/fine_tuning/jobs/:id/adapter", getAdapter);
  app.all("/fine_tuning/checkpoints/*", checkpointPermissions);
  app.all("/fine_tuning/alpha/graders/*", graders);

  app.get("/models", listModels);
  app.get("/models/:id{.+}", getModel);
  app.delete("/models/:id{.+}", deleteModel);

  app.get("/webhook_event_types", endpoints.listEventTypes);
  app.post("/webhook_endpoints", endpoints.createEndpoint);
  app.get("/webhook_endpoints", endpoints.listEndpoints);
  app.get("/webhook_endpoints/:id", endpoints.getEndpoint);
  app.post("/webhook_endpoints/:id", endpoints.updateEndpoint);
  app.delete("/webhook_endpoints/:id", endpoints.deleteEndpoint);
  app.post("/webhook_endpoints/:id/rotate_secret", rotateSecret);
  app.post("/webhook_endpoints/:id/test", testEndpoint);
  app.post("/webhook_endpoints/:id/replay", deliveries.replayEndpoint);
  app.get("/webhook_deliveries", deliveries.listDeliveries);
  app.get("/webhook_deliveries/:id", deliveries.getDelivery);
  app.post("/webhook_deliveries/:id/replay", deliveries.replayDelivery);

  app.get("/notifications", listNotifications);
  app.post("/notifications/read", readAllNotifications);
  app.post("/notifications/:id/read", readNotification);
  app.post("/notification_channels", channels.createChannel);
  app.get("/notification_channels", channels.listChannels);
  app.post("/notification_channels/:id", channels.updateChannel);
  app.delete("/notification_channels/:id", channels.deleteChannel);
  app.post("/notification_channels/:id/test", channels.testChannel);
  return app;
}
