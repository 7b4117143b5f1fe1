/** /notification_channels: where people are told beside the list: e-mail addresses and Slack's incoming webhooks. */
import * as z from "zod";
import { channelKinds } from "../../../_shared/contracts/channels.ts";
import { notificationEventTypes } from "../../../_shared/contracts/event_types.ts";
import { rpc } from "../../../_shared/database/rpc.ts";
import { ApiError } from "../../../_shared/errors.ts";
import { sealPurpose, sendMessage } from "../../../_shared/messages.ts";
import { checkUrl, OutgoingError } from "../../../_shared/outgoing.ts";
import type { Settings } from "../../../_shared/platform.ts";
import { seal } from "../../../_shared/secrets.ts";
import { check, fields, jsonBody } from "../../../_shared/validation.ts";
import type { ApiContext } from "../../context.ts";
import { cursor, pathId, publicId, uuid7 } from "../../ids.ts";
import { paging } from "../../paging.ts";
import { renderList } from "../../serializers/list.ts";
import { renderChannel } from "../../serializers/webhooks.ts";
import { ChannelRow, page } from "../../rows.ts";
import { eventTypeList } from "../webhooks/endpoints.ts";
import { defineRoute } from "../define.ts";

const types = eventTypeList(notificationEventTypes);
export const Create = fields({
  kind: z.enum(channelKinds),
  target: z.string().min(1).max(2048),
  event_types: types.default([...notificationEventTypes]),
});
export const Update = fields({ event_types: types.optional(), enabled: z.boolean().optional() });
const Email = fields({ target: z.email({ error: "must be an e-mail address" }).max(320) });

/** POST /notification_channels `{kind, target, event_types?}`; Slack's URL is encrypted and never shown again. */
async function createChannel(c: ApiContext): Promise<Response> {
  const { db, settings } = c.get("platform");
  const { kind, target, event_types } = check(Create, await jsonBody(c.req.raw));
  await rpc(db, "authorize", { caller: c.get("caller"), scope: "webhooks:write" });
  const id = uuid7();
  const where = kind === "email" ? emailTarget(target, settings) : await slackTarget(id, target, settings);
  const row = await rpc(db, "create_notification_channel", {
    caller: c.get("caller"),
    channel: { id, kind, event_types, ...where },
  }, ChannelRow);
  c.set("version", row.version);
  return c.json(renderChannel(row));
}

function emailTarget(target: string, settings: Settings): { target: string } {
  if (settings.resendKey === null || settings.emailFrom === null) throw ApiError.of("email_not_configured");
  return check(Email, { target });
}

async function slackTarget(id: string, target: string, settings: Settings) {
  const refuse = (why: string) =>
    new ApiError("invalid_request", [{ param: "target", message: `target: ${why}` }]);
  let url: URL;
  try {
    url = checkUrl(target, settings);
  } catch (error) {
    // The address is a secret: not repeated in the answer.
    if (error instanceof OutgoingError) throw refuse(error.message);
    throw error;
  }
  const loopback = url.protocol === "http:"; // checkUrl allows it where the operator does
  if (!loopback && !["hooks.slack.com", "hooks.slack-gov.com"].includes(url.hostname)) {
    throw refuse("must be the URL of a Slack incoming webhook, https://hooks.slack.com/services/…");
  }
  return {
    target: `${url.host}/…${url.href.slice(-4)}`,
    encrypted_url: await seal(settings.masterKey, sealPurpose(id), url.href),
  };
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
  const changes = check(Update, await jsonBody(c.req.raw));
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

/** POST /notification_channels/{id}/test: a message at once, and what the service answered. */
async function testChannel(c: ApiContext): Promise<Response> {
  const { db, settings } = c.get("platform");
  const row = await rpc(
    db,
    "test_notification_channel",
    { caller: c.get("caller"), id: channelId(c) },
    ChannelRow.extend({ encrypted_url: z.string().nullable() }),
  );
  const kind = row.kind === "email" ? "email" : "slack";
  const message = {
    level: "info" as const,
    title: "Tunebase can reach you",
    text: "This is a test. Notifications of your fine-tuning jobs will come here.",
    job_id: null,
  };
  const { answer } = await sendMessage(settings, { ...row, kind }, message, crypto.randomUUID());
  if (answer.status === null) {
    throw new ApiError("receiver_unreachable", [{
      param: null,
      message: `The ${kind} service could not be reached: ${answer.error}.`,
    }]);
  }
  return c.json({
    object: "notification_channel.test" as const,
    notification_channel_id: publicId("notificationChannel", row.id),
    status_code: answer.status,
    success: answer.status >= 200 && answer.status < 300,
    response: answer.body,
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
