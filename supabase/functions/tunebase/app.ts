/** The HTTP API for clients: OpenAI's fine-tuning shapes, and what they lack. One route a file, under `routes/`. */
import { Hono } from "hono";
import { cors } from "hono/cors";
import type { Platform } from "../_shared/platform.ts";
import { serveApp } from "../_shared/serving.ts";
import type { ApiEnv } from "./context.ts";
import { EventHub } from "./event_hub.ts";
import { guard } from "./guard.ts";
import * as apiKeys from "./routes/api_keys.ts";
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
import { getMetrics } from "./routes/job_metrics.ts";
import { listCheckpoints } from "./routes/job_checkpoints.ts";
import { health } from "./routes/health.ts";
import { checkpointPermissions, graders } from "./routes/unsupported.ts";
import { listEvents } from "./routes/job_events.ts";
import { getDocs } from "./routes/docs.ts";
import { getOpenApi } from "./routes/openapi.ts";
import { listFiles } from "./routes/file_list.ts";
import { listJobs } from "./routes/job_list.ts";
import * as invitations from "./routes/invitations.ts";
import { getMe } from "./routes/me.ts";
import * as members from "./routes/members.ts";
import * as projects from "./routes/projects.ts";
import { getUsage } from "./routes/usage.ts";
import { deleteModel, getModel, listModels } from "./routes/models.ts";
import * as channels from "./routes/notification_channels.ts";
import { listNotifications, readAllNotifications, readNotification } from "./routes/notifications.ts";
import * as deliveries from "./routes/webhook_deliveries.ts";
import * as endpoints from "./routes/webhook_endpoints.ts";
import { rotateSecret } from "./routes/webhook_secret.ts";
import { swallowEvent } from "./routes/webhook_sink.ts";
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

/** Many clients expect a base URL that ends in /v1: both …/tunebase and …/tunebase/v1 are answered. */
const withoutVersion = (request: Request) =>
  new URL(request.url).pathname.replace(/^\/tunebase\/v1(?=\/|$)/, "/tunebase");

/** The app as a value: `createApp(platform).fetch(request)`. */
export function createApp(platform: Platform): Hono<ApiEnv> {
  const app = new Hono<ApiEnv>({ getPath: withoutVersion }).basePath("/tunebase");
  const hub = new EventHub(platform.db);
  serveApp(app, "tunebase", platform);
  app.use(
    "*",
    cors({
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
    }),
  );
  app.use("*", async function providePlatform(c, next) {
    c.set("platform", platform);
    c.set("hub", hub);
    await next();
  });
  app.get("/health", health);
  app.get("/openapi.json", getOpenApi);
  app.get("/docs", getDocs);
  app.post("/webhook_sink", swallowEvent);

  const authenticated = guard(platform);
  app.use("/files/*", authenticated);
  app.use("/uploads/*", authenticated);
  app.use("/fine_tuning/*", authenticated);
  app.use("/models/*", authenticated);
  app.use("/projects/*", authenticated);
  app.use("/invitations/*", authenticated);
  app.use("/api_keys/*", authenticated);
  app.use("/me", authenticated);
  app.use("/usage", authenticated);
  app.use("/webhook_endpoints/*", authenticated);
  app.use("/webhook_event_types/*", authenticated);
  app.use("/webhook_deliveries/*", authenticated);
  app.use("/notifications/*", authenticated);
  app.use("/notification_channels/*", authenticated);

  app.post("/files", createFile);
  app.get("/files", listFiles);
  app.post("/files/direct", createDirect);
  app.all("/files/direct", (c) => c.notFound());
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

  app.get("/me", getMe);
  app.get("/usage", getUsage);
  app.get("/projects", projects.listProjects);
  app.post("/projects", projects.createProject);
  app.get("/projects/:id", projects.getProject);
  app.post("/projects/:id", projects.updateProject);
  app.post("/projects/:id/archive", projects.archiveProject);
  app.post("/projects/:id/restore", projects.restoreProject);
  app.get("/projects/:id/members", members.listMembers);
  app.post("/projects/:id/members", members.inviteMember);
  app.post("/projects/:id/members/:user_id", members.updateMember);
  app.delete("/projects/:id/members/:user_id", members.removeMember);
  app.get("/projects/:id/invitations", invitations.listInvitations);
  app.delete("/projects/:id/invitations/:invitation_id", invitations.deleteInvitation);
  app.get("/invitations", invitations.listMyInvitations);
  app.post("/invitations/:id/accept", invitations.acceptInvitation);
  app.post("/invitations/:id/decline", invitations.declineInvitation);
  app.get("/api_keys", apiKeys.listApiKeys);
  app.post("/api_keys", apiKeys.createApiKey);
  app.get("/api_keys/:id", apiKeys.getApiKey);
  app.post("/api_keys/:id", apiKeys.updateApiKey);
  app.delete("/api_keys/:id", apiKeys.revokeApiKey);

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
