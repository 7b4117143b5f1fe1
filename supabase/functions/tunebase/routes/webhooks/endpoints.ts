/** /webhook_endpoints: compatible with OpenAI's; `progress_seconds` and `enabled` are additions. */
import * as z from "zod";
import { rpc } from "../../../_shared/database/rpc.ts";
import { BlockedUrlError, checkAddress, checkUrl } from "../../../_shared/safe_fetch.ts";
import type { Settings } from "../../../_shared/platform.ts";
import { ApiError } from "../../../_shared/errors.ts";
import { jsonBody, parseOrThrow, strictObject } from "../../../_shared/validation.ts";
import { eventTypes } from "../../../_shared/contracts/event_types.ts";
import type { ApiContext } from "../../context.ts";
import { cursor, pathId, publicId } from "../../ids.ts";
import { paging } from "../../paging.ts";
import { renderList } from "../../serializers/list.ts";
import { renderEndpoint } from "../../serializers/webhooks.ts";
import { EndpointRow, page } from "../../rows.ts";
import { defineRoute } from "../define.ts";

/** A non-empty list of event types, deduplicated. */
export const eventTypeList = (known: readonly string[]) =>
  z.array(z.enum(known, { error: `must be one of ${known.join(", ")}` })).min(1)
    .transform((types) => [...new Set(types)]);

const shape = {
  name: z.string().trim().min(1).max(100),
  url: z.string().max(2048),
  event_types: eventTypeList(eventTypes),
  progress_seconds: z.int().min(1).max(86_400).optional(),
};
export const Create = strictObject(shape);
export const Update = strictObject({
  name: shape.name.optional(),
  url: shape.url.optional(),
  event_types: shape.event_types.optional(),
  progress_seconds: shape.progress_seconds,
  enabled: z.boolean().optional(),
});

async function createEndpoint(c: ApiContext): Promise<Response> {
  const { db, settings } = c.get("platform");
  const body = parseOrThrow(Create, await jsonBody(c.req));
  await rpc(db, "authorize", { caller: c.get("caller"), scope: "webhooks:write" });
  const url = await allowedUrl(body.url, settings);
  const row = await rpc(db, "create_webhook_endpoint", {
    caller: c.get("caller"),
    endpoint: { ...body, url },
  }, EndpointRow);
  c.set("version", row.version);
  return c.json(await renderEndpoint(row, settings.masterKey, true));
}

async function listEndpoints(c: ApiContext): Promise<Response> {
  const { db, settings } = c.get("platform");
  const { limit, after } = paging(c.req.query());
  const found = await rpc(db, "list_webhook_endpoints", {
    caller: c.get("caller"),
    after: cursor("webhookEndpoint", after),
    limit,
  }, page(EndpointRow));
  const data = await Promise.all(found.data.map((row) => renderEndpoint(row, settings.masterKey)));
  return c.json(renderList({ ...found, data }, (item) => item));
}

async function getEndpoint(c: ApiContext): Promise<Response> {
  const row = await endpointRow(c, "webhooks:read");
  c.set("version", row.version);
  return c.json(await renderEndpoint(row, c.get("platform").settings.masterKey));
}

async function updateEndpoint(c: ApiContext): Promise<Response> {
  const { db, settings } = c.get("platform");
  const id = endpointId(c);
  const body = parseOrThrow(Update, await jsonBody(c.req) ?? {});
  if (body.url !== undefined) await endpointRow(c, "webhooks:write");
  const changes = body.url === undefined ? body : { ...body, url: await allowedUrl(body.url, settings) };
  const row = await rpc(
    db,
    "update_webhook_endpoint",
    { caller: c.get("caller"), id, changes },
    EndpointRow,
  );
  c.set("version", row.version);
  return c.json(await renderEndpoint(row, settings.masterKey));
}

async function deleteEndpoint(c: ApiContext): Promise<Response> {
  const id = endpointId(c);
  await rpc(c.get("platform").db, "delete_webhook_endpoint", { caller: c.get("caller"), id });
  return c.json({
    id: publicId("webhookEndpoint", id),
    object: "webhook_endpoint.deleted" as const,
    deleted: true,
  });
}

/** GET /webhook_event_types */
async function listEventTypes(c: ApiContext): Promise<Response> {
  await rpc(c.get("platform").db, "authorize", { caller: c.get("caller"), scope: "webhooks:read" });
  return c.json({ object: "list" as const, data: eventTypes });
}

/** The UUID of the endpoint in the path. */
export function endpointId(c: ApiContext): string {
  return pathId("webhookEndpoint", c.req.param("id"), "webhook_endpoint_not_found");
}

/** The row of the endpoint in the path. Throws a 404 if the caller has no such endpoint. */
export function endpointRow(c: ApiContext, scope: "webhooks:read" | "webhooks:write"): Promise<EndpointRow> {
  const args = { caller: c.get("caller"), id: endpointId(c), scope };
  return rpc(c.get("platform").db, "get_webhook_endpoint", args, EndpointRow);
}

/** Checks and normalizes an endpoint's URL. Resolves its host, so authorize the caller first. */
async function allowedUrl(text: string, settings: Settings): Promise<string> {
  try {
    const url = checkUrl(text, settings);
    await checkAddress(url, settings);
    return url.href;
  } catch (error) {
    if (!(error instanceof BlockedUrlError)) throw error;
    throw new ApiError("invalid_request", [{
      param: "url",
      message: `url = ${JSON.stringify(text.slice(0, 200))}: ${error.message}`,
    }]);
  }
}

export const routes = [
  defineRoute({
    method: "GET",
    path: "/webhook_event_types",
    id: "listWebhookEventTypes",
    summary: "List event types",
    scope: "webhooks:read",
    response: () => z.object({ object: z.literal("list"), data: z.array(z.enum(eventTypes)) }),
    handler: listEventTypes,
  }),
  defineRoute({
    method: "POST",
    path: "/webhook_endpoints",
    id: "createWebhookEndpoint",
    summary: "Create a webhook endpoint",
    description: "The response contains the signing secret, which is shown only here and on rotation.",
    scope: "webhooks:write",
    body: Create,
    example: {
      name: "Production",
      url: "https://example.com/hook",
      event_types: ["fine_tuning.job.succeeded"],
    },
    response: "WebhookEndpoint",
    errors: ["quota_exceeded", "project_archived"],
    idempotency: "in_sql",
    handler: createEndpoint,
  }),
  defineRoute({
    method: "GET",
    path: "/webhook_endpoints",
    id: "listWebhookEndpoints",
    summary: "List webhook endpoints",
    scope: "webhooks:read",
    paging: 100,
    response: "WebhookEndpoint[]",
    handler: listEndpoints,
  }),
  defineRoute({
    method: "GET",
    path: "/webhook_endpoints/{id}",
    id: "getWebhookEndpoint",
    summary: "Get a webhook endpoint",
    scope: "webhooks:read",
    response: "WebhookEndpoint",
    errors: ["webhook_endpoint_not_found"],
    handler: getEndpoint,
  }),
  defineRoute({
    method: "POST",
    path: "/webhook_endpoints/{id}",
    id: "updateWebhookEndpoint",
    summary: "Update a webhook endpoint",
    scope: "webhooks:write",
    body: Update,
    example: { enabled: true },
    response: "WebhookEndpoint",
    errors: ["webhook_endpoint_not_found", "project_archived"],
    ifMatch: true,
    handler: updateEndpoint,
  }),
  defineRoute({
    method: "DELETE",
    path: "/webhook_endpoints/{id}",
    id: "deleteWebhookEndpoint",
    summary: "Delete a webhook endpoint",
    scope: "webhooks:write",
    response: "Deleted",
    errors: ["webhook_endpoint_not_found"],
    ifMatch: true,
    handler: deleteEndpoint,
  }),
];
