/** In-app notifications and notification channels. */
import * as z from "zod";
import { channelKinds } from "../../../_shared/contracts/channels.ts";
import { logLevels } from "../../../_shared/contracts/statuses.ts";
import { count, id, listOf, time, word } from "./fields.ts";

export const Notification = z.object({
  id: id("ntf_"),
  object: z.literal("notification"),
  created_at: time,
  read_at: time.nullable().describe("When you read it"),
  type: z.string(),
  level: word(...logLevels),
  title: z.string(),
  text: z.string(),
  fine_tuning_job_id: id("ftjob-").nullable(),
}).meta({ id: "Notification" });
export type Notification = z.infer<typeof Notification>;

export const NotificationList = listOf(Notification).extend({ unread_count: z.int() });

export const NotificationsRead = z.object({ object: z.literal("notification.read"), unread_count: count })
  .meta({ id: "NotificationsRead" });

export const Channel = z.object({
  id: id("nch_"),
  object: z.literal("notification_channel"),
  created_at: time,
  updated_at: time,
  kind: word(...channelKinds),
  target: z.string(),
  event_types: z.array(z.string()),
  enabled: z.boolean(),
  disabled_reason: z.string().nullable(),
  disabled_at: time.nullable(),
}).meta({ id: "NotificationChannel" });
export type Channel = z.infer<typeof Channel>;

export const ChannelTest = z.object({
  object: z.literal("notification_channel.test"),
  notification_channel_id: id("nch_"),
  status_code: z.int(),
  success: z.boolean(),
  response: z.string().nullable(),
}).meta({ id: "NotificationChannelTest" });
