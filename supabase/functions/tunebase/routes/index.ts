/** Every route, in the order in which the documentation shows them. */
import type { Route } from "./define.ts";
import { routes as apiKeys } from "./api_keys/api_keys.ts";
import { routes as createEstimate } from "./estimates/create.ts";
import { routes as fileContent } from "./files/content.ts";
import { routes as createFile } from "./files/create.ts";
import { routes as deleteFile } from "./files/delete.ts";
import { routes as directUploads } from "./files/direct.ts";
import { routes as getFile } from "./files/get.ts";
import { routes as listFiles } from "./files/list.ts";
import { routes as invitations } from "./invitations/invitations.ts";
import { routes as adapters } from "./jobs/adapter.ts";
import { routes as checkpoints } from "./jobs/checkpoints.ts";
import { routes as createJob } from "./jobs/create.ts";
import { routes as events } from "./jobs/events.ts";
import { routes as getJob } from "./jobs/get.ts";
import { routes as listJobs } from "./jobs/list.ts";
import { routes as metrics } from "./jobs/metrics.ts";
import { routes as transitions } from "./jobs/transitions.ts";
import { routes as me } from "./me/me.ts";
import { routes as members } from "./members/members.ts";
import { routes as docs } from "./meta/docs.ts";
import { routes as health } from "./meta/health.ts";
import { routes as openApi } from "./meta/openapi.ts";
import { routes as models } from "./models/models.ts";
import { routes as channels } from "./notifications/channels.ts";
import { routes as notifications } from "./notifications/notifications.ts";
import { routes as projects } from "./projects/projects.ts";
import { routes as uploadParts } from "./uploads/part.ts";
import { routes as uploads } from "./uploads/upload.ts";
import { routes as usage } from "./usage/usage.ts";
import { routes as deliveries } from "./webhooks/deliveries.ts";
import { routes as discard } from "./webhooks/discard.ts";
import { routes as endpoints } from "./webhooks/endpoints.ts";
import { routes as webhookSecret } from "./webhooks/secret.ts";
import { routes as webhookTest } from "./webhooks/test.ts";

/** By their tag in the OpenAPI document. */
export const routesByTag: Record<string, Route[]> = {
  Files: [createFile, listFiles, getFile, fileContent, deleteFile, directUploads, uploads, uploadParts]
    .flat(),
  "Fine-tuning": [
    createEstimate,
    createJob,
    listJobs,
    getJob,
    transitions,
    events,
    metrics,
    checkpoints,
    adapters,
  ].flat(),
  Models: models,
  "Projects and keys": [me, usage, projects, members, invitations, apiKeys].flat(),
  Webhooks: [endpoints, webhookSecret, webhookTest, deliveries, discard].flat(),
  Notifications: [notifications, channels].flat(),
  Service: [health, openApi, docs].flat(),
};
export const routes: Route[] = Object.values(routesByTag).flat();
