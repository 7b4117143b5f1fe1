/** /notification_channels: email addresses and Slack incoming webhooks that get notifications. */
import * as z from "zod";
import { channelKinds } from "../../../_shared/contracts/channels.ts";
import { notificationEventTypes } from "../../../_shared/contracts/event_types.ts";
import { rpc } from "../../../_shared/database/rpc.ts";
import { ApiError } from "../../../_shared/errors.ts";
import { channelAdapters } from "../../../_shared/notifications.ts";
import { jsonBody, parseOrThrow, strictObject } from "../../../_shared/validation.ts";
import type { ApiContext } from "../../context.ts";
import { cursor, pathId, publicId, uuid7 } from "../../ids.ts";
import { paging } from "../../paging.ts";
import { renderList } from "../../serializers/list.ts";
import { renderChannel } from "../../serializers/webhooks.ts";
import { ChannelRow, page } from "../../rows.ts";
import { eventTypeList } from "../webhooks/endpoints.ts";
import { defineRoute } from "../define.ts";

const types = eventTypeList(notificationEventTypes);
export const Create = strictObject({
  kind: z.enum(channelKinds),
  target: z.string().min(1).max(2048),
  event_types: types.default([...notificationEventTypes]),
});
export const Update = strictObject({ event_types: types.optional(), enabled: z.boolean().optional() });
const ChannelToTest = ChannelRow.extend({
  kind: z.enum(channelKinds),
  encrypted_url: z.string().nullable(),
});

/** POST /notification_channels `{kind, target, event_types?}`. A Slack URL is stored encrypted and never shown again. */
async function createChannel(c: ApiContext): Promise<Response> {
  const { db, settings } = c.get("platform");
  const { kind, target, event_types } = parseOrThrow(Create, await jsonBody(c.req));
  await rpc(db, "authorize", { caller: c.get("caller"), scope: "webhooks:write" });
  const id = uuid7();
  const where = await channelAdapters[kind].resolveTarget(settings, id, target);
  const row = await rpc(db, "create_notification_channel", {
    caller: c.get("caller"),
    channel: { id, kind, event_types, ...where },
  }, ChannelRow);
  c.set("version", row.version);
  return c.json(renderChannel(row));
}

async function listChannels(c: ApiContext): Promise<Response> {
  const { limit, after } = paging(c.req.query());
  const found = await rpc(c.get("platform").db, "list_notification_channels", {
    caller: c.get("caller"),
    after: cursor("notificationChannel", after),
    limit,
  }, page(ChannelRow));
  return c.json(renderList(found, renderChannel));
}

/** POST /notification_channels/{id} `{event_types?, enabled?}` */
async function updateChannel(c: ApiContext): Promise<Response> {
  const id = channelId(c);
  const changes = parseOrThrow(Update, await jsonBody(c.req));
  const args = { caller: c.get("caller"), id, changes };
  const row = await rpc(c.get("platform").db, "update_notification_channel", args, ChannelRow);
  c.set("version", row.version);
  return c.json(renderChannel(row));
}

async function deleteChannel(c: ApiContext): Promise<Response> {
  const id = channelId(c);
  await rpc(c.get("platform").db, "delete_notification_channel", { caller: c.get("caller"), id });
  return c.json({
    id: publicId("notificationChannel", id),
    object: "notification_channel.deleted" as const,
    deleted: true,
  });
}

/** POST /notification_channels/{id}/test: sends a message now and returns the service's response. */
async function testChannel(c: ApiContext): Promise<Response> {
  const { db, settings } = c.get("platform");
  const row = await rpc(
    db,
    "test_notification_channel",
    { caller: c.get("caller"), id: channelId(c) },
    ChannelToTest,
  );
  const message = {
    level: "info" as const,
    title: "Test notification from Tunebase",
    text: "This is a test. Notifications about your fine-tuning jobs will arrive here.",
    job_id: null,
  };
  const { result } = await channelAdapters[row.kind].send(settings, row, message, crypto.randomUUID());
  if (result.status === null) {
    throw new ApiError("receiver_unreachable", [{
      param: null,
      message: `The ${row.kind} service could not be reached: ${result.error}.`,
    }]);
  }
  return c.json({
    object: "notification_channel.test" as const,
    notification_channel_id: publicId("notificationChannel", row.id),
    status_code: result.status,
    success: result.status >= 200 && result.status < 300,
    response: result.body,
  });
}

function channelId(c: ApiContext): string {
  return pathId("notificationChannel", c.req.param("id"), "notification_channel_not_found");
}

export const routes = [
  defineRoute({
    method: "POST",
    path: "/notification_channels",
    id: "createNotificationChannel",
    summary: "Create an email or Slack notification channel",
    scope: "webhooks:write",
    body: Create,
    example: { kind: "email", target: "ada@example.com" },
    response: "Channel",
    idempotency: "in_sql",
    errors: ["email_not_configured", "email_not_member", "quota_exceeded", "project_archived"],
    handler: createChannel,
  }),
  defineRoute({
    method: "GET",
    path: "/notification_channels",
    id: "listNotificationChannels",
    summary: "List notification channels",
    scope: "webhooks:read",
    paging: 100,
    response: "Channel[]",
    handler: listChannels,
  }),
  defineRoute({
    method: "POST",
    path: "/notification_channels/{id}",
    id: "updateNotificationChannel",
    summary: "Update a notification channel",
    scope: "webhooks:write",
    body: Update,
    example: { enabled: true },
    response: "Channel",
    errors: ["notification_channel_not_found", "project_archived"],
    ifMatch: true,
    handler: updateChannel,
  }),
  defineRoute({
    method: "DELETE",
    path: "/notification_channels/{id}",
    id: "deleteNotificationChannel",
    summary: "Delete a notification channel",
    scope: "webhooks:write",
    response: "Deleted",
    errors: ["notification_channel_not_found"],
    ifMatch: true,
    handler: deleteChannel,
  }),
  defineRoute({
    method: "POST",
    path: "/notification_channels/{id}/test",
    id: "testNotificationChannel",
    summary: "Send a test notification",
    scope: "webhooks:write",
    response: "ChannelTest",
    errors: [
      "notification_channel_not_found",
      "receiver_unreachable",
      "email_not_configured",
      "email_not_member",
      "email_limit_reached",
    ],
    handler: testChannel,
  }),
];
