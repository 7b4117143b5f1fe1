/** /notification_channels: where people are told beside the list: e-mail addresses and Slack's incoming webhooks. */
import * as z from "zod";
import { channelKinds } from "../../_shared/contracts/channels.ts";
import { notificationEventTypes } from "../../_shared/contracts/event_types.ts";
import { rpc } from "../../_shared/database/rpc.ts";
import { ApiError } from "../../_shared/errors.ts";
import { sealPurpose, sendMessage } from "../../_shared/messages.ts";
import { checkUrl, OutgoingError } from "../../_shared/outgoing.ts";
import type { Settings } from "../../_shared/platform.ts";
import { seal } from "../../_shared/secrets.ts";
import { check, fields, jsonBody } from "../../_shared/validation.ts";
import type { ApiContext } from "../context.ts";
import { cursor, pathId, publicId, uuid7 } from "../ids.ts";
import { paging } from "../paging.ts";
import { renderList } from "../render.ts";
import { renderChannel } from "../render_webhooks.ts";
import { ChannelRow, page } from "../rows.ts";
import { eventTypeList } from "./webhook_endpoints.ts";

const types = eventTypeList(notificationEventTypes);
export const Create = fields({
  kind: z.enum(channelKinds),
  target: z.string().min(1).max(2048),
  event_types: types.default([...notificationEventTypes]),
});
export const Update = fields({ event_types: types.optional(), enabled: z.boolean().optional() });
const Email = fields({ target: z.email({ error: "must be an e-mail address" }).max(320) });

/** POST /notification_channels `{kind, target, event_types?}`; Slack's URL is encrypted and never shown again. */
export async function createChannel(c: ApiContext): Promise<Response> {
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

export async function listChannels(c: ApiContext): Promise<Response> {
  const { limit, after } = paging(c.req.query());
  const found = await rpc(c.get("platform").db, "list_notification_channels", {
    caller: c.get("caller"),
    after: cursor("notificationChannel", after),
    limit,
  }, page(ChannelRow));
  return c.json(renderList(found, renderChannel));
}

/** POST /notification_channels/{id} `{event_types?, enabled?}` */
export async function updateChannel(c: ApiContext): Promise<Response> {
  const id = channelId(c);
  const changes = check(Update, await jsonBody(c.req.raw));
  const args = { caller: c.get("caller"), id, changes };
  const row = await rpc(c.get("platform").db, "update_notification_channel", args, ChannelRow);
  c.set("version", row.version);
  return c.json(renderChannel(row));
}

export async function deleteChannel(c: ApiContext): Promise<Response> {
  const id = channelId(c);
  await rpc(c.get("platform").db, "delete_notification_channel", { caller: c.get("caller"), id });
  return c.json({
    id: publicId("notificationChannel", id),
    object: "notification_channel.deleted" as const,
    deleted: true,
  });
}

/** POST /notification_channels/{id}/test: a message at once, and what the service answered. */
export async function testChannel(c: ApiContext): Promise<Response> {
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
