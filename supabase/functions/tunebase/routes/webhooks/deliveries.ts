/** /webhook_deliveries: the delivery log, and replays. */
import * as z from "zod";
import { wakeScheduler } from "../../../_shared/wake_scheduler.ts";
import { rpc } from "../../../_shared/database/rpc.ts";
import { jsonBody, parseOrThrow, strictObject } from "../../../_shared/validation.ts";
import { eventTypes } from "../../../_shared/contracts/event_types.ts";
import type { ApiContext } from "../../context.ts";
import { cursor, type IdKind, parseId, pathId, prefixes, publicId } from "../../ids.ts";
import { paging } from "../../paging.ts";
import { renderList } from "../../serializers/list.ts";
import { renderAttempt, renderDelivery } from "../../serializers/webhooks.ts";
import { DeliveryRow, DeliveryWithLog, page } from "../../rows.ts";
import { endpointId } from "./endpoints.ts";
import { defineRoute } from "../define.ts";

/** A public id in a query, parsed to its UUID. */
const queryId = (kind: IdKind) =>
  z.string().refine((id) => parseId(kind, id) !== null, `must be an id such as ${prefixes[kind]}…`)
    .transform((id) => parseId(kind, id)).optional();
export const Query = z.object({
  webhook_endpoint_id: queryId("webhookEndpoint"),
  notification_channel_id: queryId("notificationChannel"),
  fine_tuning_job_id: queryId("job"),
  status: z.enum(["pending", "delivered", "dead"]).optional(),
  event_type: z.enum(eventTypes).optional(),
});

/** GET /webhook_deliveries?webhook_endpoint_id&notification_channel_id&fine_tuning_job_id&status&event_type&after&limit */
async function listDeliveries(c: ApiContext): Promise<Response> {
  const { limit, after } = paging(c.req.query());
  const query = parseOrThrow(Query, c.req.query());
  const filter = {
    target_id: query.webhook_endpoint_id ?? query.notification_channel_id,
    job_id: query.fine_tuning_job_id,
    status: query.status,
    event_type: query.event_type,
  };
  const found = await rpc(c.get("platform").db, "list_webhook_deliveries", {
    caller: c.get("caller"),
    after: cursor("webhookDelivery", after),
    limit,
    filter,
  }, page(DeliveryRow));
  return c.json(renderList(found, renderDelivery));
}

/** GET /webhook_deliveries/{id}: with all attempts. */
async function getDelivery(c: ApiContext): Promise<Response> {
  const args = { caller: c.get("caller"), id: deliveryId(c) };
  return c.json(withLog(await rpc(c.get("platform").db, "get_webhook_delivery", args, DeliveryWithLog)));
}

/** POST /webhook_deliveries/{id}/replay: sends it again with the same `webhook-id`. */
async function replayDelivery(c: ApiContext): Promise<Response> {
  const { db, settings, waitUntil } = c.get("platform");
  const args = { caller: c.get("caller"), id: deliveryId(c) };
  const row = await rpc(db, "replay_webhook_delivery", args, DeliveryWithLog);
  waitUntil(wakeScheduler(settings));
  return c.json(withLog(row));
}

export const Since = strictObject({ since: z.int().min(0).max(4_102_444_800) });

/** POST /webhook_endpoints/{id}/replay `{since}` (Unix seconds): replays all failed deliveries since then. */
async function replayEndpoint(c: ApiContext): Promise<Response> {
  const { db, settings, waitUntil } = c.get("platform");
  const id = endpointId(c);
  const { since } = parseOrThrow(Since, await jsonBody(c.req));
  const replayed = await rpc(db, "replay_webhook_endpoint", {
    caller: c.get("caller"),
    id,
    since: new Date(since * 1000).toISOString(),
  });
  waitUntil(wakeScheduler(settings));
  return c.json({
    object: "webhook_endpoint.replay" as const,
    webhook_endpoint_id: publicId("webhookEndpoint", id),
    since,
    replayed,
  });
}

function deliveryId(c: ApiContext): string {
  return pathId("webhookDelivery", c.req.param("id"), "webhook_delivery_not_found");
}

function withLog(row: DeliveryWithLog) {
  return {
    ...renderDelivery(row),
    body: row.body,
    attempts: row.attempts.map((attempt) => renderAttempt(attempt, row.body)),
  };
}

export const routes = [
  defineRoute({
    method: "POST",
    path: "/webhook_endpoints/{id}/replay",
    id: "replayWebhookEndpoint",
    summary: "Replay an endpoint's failed deliveries since a given time",
    scope: "webhooks:write",
    body: Since,
    example: { since: 1_795_000_000 },
    response: "EndpointReplay",
    errors: ["webhook_endpoint_not_found", "receiver_disabled", "project_archived"],
    handler: replayEndpoint,
  }),
  defineRoute({
    method: "GET",
    path: "/webhook_deliveries",
    id: "listWebhookDeliveries",
    summary: "List webhook deliveries",
    scope: "webhooks:read",
    paging: 100,
    query: Query,
    response: "Delivery[]",
    handler: listDeliveries,
  }),
  defineRoute({
    method: "GET",
    path: "/webhook_deliveries/{id}",
    id: "getWebhookDelivery",
    summary: "Get a delivery and its attempts",
    scope: "webhooks:read",
    response: "DeliveryWithLog",
    errors: ["webhook_delivery_not_found"],
    handler: getDelivery,
  }),
  defineRoute({
    method: "POST",
    path: "/webhook_deliveries/{id}/replay",
    id: "replayWebhookDelivery",
    summary: "Replay a delivery",
    scope: "webhooks:write",
    response: "DeliveryWithLog",
    errors: [
      "webhook_delivery_not_found",
      "receiver_disabled",
      "project_archived",
      "email_not_member",
      "email_limit_reached",
    ],
    handler: replayDelivery,
  }),
];
