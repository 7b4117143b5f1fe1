/** The HTTP API for clients: OpenAI's fine-tuning shapes, and what they lack. One route a file, under `routes/`. */
import { Hono, type MiddlewareHandler } from "hono";
import { cors } from "hono/cors";
import { TrieRouter } from "hono/router/trie-router";
import { lazyRoutes, onFirstUse } from "../_shared/on_first_use.ts";
import type { Platform } from "../_shared/platform.ts";
import { serveApp } from "../_shared/serving.ts";
import type { ApiContext, ApiEnv } from "./context.ts";

const on = lazyRoutes<ApiContext>();

/** Each is loaded by the first request that needs it. */
const apiKeys = () => import("./routes/api_keys.ts");
const channels = () => import("./routes/notification_channels.ts");
const deliveries = () => import("./routes/webhook_deliveries.ts");
const docs = () => import("./routes/docs.ts");
const endpoints = () => import("./routes/webhook_endpoints.ts");
const estimateCreate = () => import("./routes/estimate_create.ts");
const fileContent = () => import("./routes/file_content.ts");
const fileCreate = () => import("./routes/file_create.ts");
const fileDelete = () => import("./routes/file_delete.ts");
const fileDirect = () => import("./routes/file_direct.ts");
const fileGet = () => import("./routes/file_get.ts");
const fileList = () => import("./routes/file_list.ts");
const health = () => import("./routes/health.ts");
const invitations = () => import("./routes/invitations.ts");
const jobAdapter = () => import("./routes/job_adapter.ts");
const jobCheckpoints = () => import("./routes/job_checkpoints.ts");
const jobCreate = () => import("./routes/job_create.ts");
const jobEvents = () => import("./routes/job_events.ts");
const jobGet = () => import("./routes/job_get.ts");
const jobList = () => import("./routes/job_list.ts");
const jobMetrics = () => import("./routes/job_metrics.ts");
const jobMove = () => import("./routes/job_move.ts");
const me = () => import("./routes/me.ts");
const members = () => import("./routes/members.ts");
const models = () => import("./routes/models.ts");
const notifications = () => import("./routes/notifications.ts");
const openapi = () => import("./routes/openapi.ts");
const projects = () => import("./routes/projects.ts");
const unsupported = () => import("./routes/unsupported.ts");
const upload = () => import("./routes/upload.ts");
const uploadPart = () => import("./routes/upload_part.ts");
const usage = () => import("./routes/usage.ts");
const webhookSecret = () => import("./routes/webhook_secret.ts");
const webhookSink = () => import("./routes/webhook_sink.ts");
const webhookTest = () => import("./routes/webhook_test.ts");

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
  // The default router would build one regular expression of all routes at the first request, find that it cannot hold
  // them, and then build this one.
  const app = new Hono<ApiEnv>({ getPath: withoutVersion, router: new TrieRouter() }).basePath("/tunebase");
  const hub = onFirstUse(async () => new (await import("./event_hub.ts")).EventHub(platform.db));
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
  app.get("/health", on(health, "health"));
  app.get("/openapi.json", on(openapi, "getOpenApi"));
  app.get("/docs", on(docs, "getDocs"));
  app.post("/webhook_sink", on(webhookSink, "swallowEvent"));

  const guard = onFirstUse(async () => (await import("./guard.ts")).guard(platform));
  const authenticated: MiddlewareHandler<ApiEnv> = async function authenticated(c, next) {
    return await (await guard())(c, next);
  };
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

  app.post("/files", on(fileCreate, "createFile"));
  app.get("/files", on(fileList, "listFiles"));
  app.post("/files/direct", on(fileDirect, "createDirect"));
  app.all("/files/direct", (c) => c.notFound());
  app.get("/files/direct/:id", on(fileDirect, "getDirect"));
  app.post("/files/direct/:id/complete", on(fileDirect, "completeDirect"));
  app.get("/files/:id", on(fileGet, "getFile"));
  app.get("/files/:id/content", on(fileContent, "getFileContent"));
  app.delete("/files/:id", on(fileDelete, "deleteFile"));

  app.post("/uploads", on(upload, "createUpload"));
  app.post("/uploads/:id/parts", on(uploadPart, "addPart"));
  app.post("/uploads/:id/complete", on(upload, "completeUpload"));
  app.post("/uploads/:id/cancel", on(upload, "cancelUpload"));

  app.post("/fine_tuning/estimates", on(estimateCreate, "createEstimate"));
  app.post("/fine_tuning/jobs", on(jobCreate, "createJob"));
  app.get("/fine_tuning/jobs", on(jobList, "listJobs"));
  app.get("/fine_tuning/jobs/:id", on(jobGet, "getJob"));
  app.post("/fine_tuning/jobs/:id/cancel", on(jobMove, "cancelJob"));
  app.post("/fine_tuning/jobs/:id/pause", on(jobMove, "pauseJob"));
  app.post("/fine_tuning/jobs/:id/resume", on(jobMove, "resumeJob"));
  app.post("/fine_tuning/jobs/:id/start", on(jobMove, "startJob"));
  app.get("/fine_tuning/jobs/:id/events", on(jobEvents, "listEvents"));
  app.get("/fine_tuning/jobs/:id/metrics", on(jobMetrics, "getMetrics"));
  app.get("/fine_tuning/jobs/:id/checkpoints", on(jobCheckpoints, "listCheckpoints"));
  app.get("/fine_tuning/jobs/:id/checkpoints/:checkpoint/adapter", on(jobAdapter, "getCheckpointAdapter"));
  app.get("/fine_tuning/jobs/:id/adapter", on(jobAdapter, "getAdapter"));
  app.all("/fine_tuning/checkpoints/*", on(unsupported, "checkpointPermissions"));
  app.all("/fine_tuning/alpha/graders/*", on(unsupported, "graders"));

  app.get("/models", on(models, "listModels"));
  app.get("/models/:id{.+}", on(models, "getModel"));
  app.delete("/models/:id{.+}", on(models, "deleteModel"));

  app.get("/me", on(me, "getMe"));
  app.get("/usage", on(usage, "getUsage"));
  app.get("/projects", on(projects, "listProjects"));
  app.post("/projects", on(projects, "createProject"));
  app.get("/projects/:id", on(projects, "getProject"));
  app.post("/projects/:id", on(projects, "updateProject"));
  app.post("/projects/:id/archive", on(projects, "archiveProject"));
  app.post("/projects/:id/restore", on(projects, "restoreProject"));
  app.get("/projects/:id/members", on(members, "listMembers"));
  app.post("/projects/:id/members", on(members, "inviteMember"));
  app.post("/projects/:id/members/:user_id", on(members, "updateMember"));
  app.delete("/projects/:id/members/:user_id", on(members, "removeMember"));
  app.get("/projects/:id/invitations", on(invitations, "listInvitations"));
  app.delete("/projects/:id/invitations/:invitation_id", on(invitations, "deleteInvitation"));
  app.get("/invitations", on(invitations, "listMyInvitations"));
  app.post("/invitations/:id/accept", on(invitations, "acceptInvitation"));
  app.post("/invitations/:id/decline", on(invitations, "declineInvitation"));
  app.get("/api_keys", on(apiKeys, "listApiKeys"));
  app.post("/api_keys", on(apiKeys, "createApiKey"));
  app.get("/api_keys/:id", on(apiKeys, "getApiKey"));
  app.post("/api_keys/:id", on(apiKeys, "updateApiKey"));
  app.delete("/api_keys/:id", on(apiKeys, "revokeApiKey"));

  app.get("/webhook_event_types", on(endpoints, "listEventTypes"));
  app.post("/webhook_endpoints", on(endpoints, "createEndpoint"));
  app.get("/webhook_endpoints", on(endpoints, "listEndpoints"));
  app.get("/webhook_endpoints/:id", on(endpoints, "getEndpoint"));
  app.post("/webhook_endpoints/:id", on(endpoints, "updateEndpoint"));
  app.delete("/webhook_endpoints/:id", on(endpoints, "deleteEndpoint"));
  app.post("/webhook_endpoints/:id/rotate_secret", on(webhookSecret, "rotateSecret"));
  app.post("/webhook_endpoints/:id/test", on(webhookTest, "testEndpoint"));
  app.post("/webhook_endpoints/:id/replay", on(deliveries, "replayEndpoint"));
  app.get("/webhook_deliveries", on(deliveries, "listDeliveries"));
  app.get("/webhook_deliveries/:id", on(deliveries, "getDelivery"));
  app.post("/webhook_deliveries/:id/replay", on(deliveries, "replayDelivery"));

  app.get("/notifications", on(notifications, "listNotifications"));
  app.post("/notifications/read", on(notifications, "readAllNotifications"));
  app.post("/notifications/:id/read", on(notifications, "readNotification"));
  app.post("/notification_channels", on(channels, "createChannel"));
  app.get("/notification_channels", on(channels, "listChannels"));
  app.post("/notification_channels/:id", on(channels, "updateChannel"));
  app.delete("/notification_channels/:id", on(channels, "deleteChannel"));
  app.post("/notification_channels/:id/test", on(channels, "testChannel"));
  return app;
}
