/** Webhook endpoints and deliveries. */
import * as z from "zod";
import { deliveryChannels } from "../../../_shared/contracts/channels.ts";
import { deliveryStatuses } from "../../../_shared/contracts/statuses.ts";
import { count, id, stored, time, word } from "./fields.ts";

export const WebhookEndpoint = z.object({
  id: id("whe_"),
  object: z.literal("webhook_endpoint"),
  created_at: time,
  updated_at: time,
  name: z.string(),
  url: z.string(),
  event_types: z.array(z.string()),
  signing_secret_hint: z.string(),
  signing_secret: z.string().optional().describe(
    "Only included when the endpoint is created or its secret is rotated",
  ),
  enabled: z.boolean(),
  disabled_reason: z.string().nullable(),
  disabled_at: time.nullable(),
  progress_seconds: z.int().describe("The minimum number of seconds between two progress events"),
  old_secret_active_until: time.nullable(),
}).meta({ id: "WebhookEndpoint" });
export type WebhookEndpoint = z.infer<typeof WebhookEndpoint>;

export const EndpointTest = z.object({
  object: z.literal("webhook_endpoint.test"),
  webhook_endpoint_id: id("whe_"),
  event_type: z.string(),
  status_code: z.int(),
  success: z.literal(true).describe("The endpoint responded; see `status_code`"),
}).meta({ id: "WebhookEndpointTest" });

export const EndpointReplay = z.object({
  object: z.literal("webhook_endpoint.replay"),
  webhook_endpoint_id: id("whe_"),
  since: time,
  replayed: count,
}).meta({ id: "WebhookEndpointReplay" });

export const Delivery = z.object({
  id: id("whd_"),
  object: z.literal("webhook_delivery"),
  created_at: time,
  channel: word(...deliveryChannels),
  webhook_endpoint_id: id("whe_").nullable(),
  notification_channel_id: id("nch_").nullable(),
  event_id: id("evt_"),
  event_type: z.string(),
  fine_tuning_job_id: id("ftjob-").nullable(),
  status: word(...deliveryStatuses),
  reason: z.string().nullable(),
  tries: count,
  next_try_at: time.nullable(),
  last_tried_at: time.nullable(),
  delivered_at: time.nullable(),
  response_status: z.int().nullable(),
  error: z.string().nullable(),
  duration_ms: z.int().nullable(),
}).meta({ id: "WebhookDelivery" });
export type Delivery = z.infer<typeof Delivery>;

export const DeliveryTry = z.object({
  created_at: time,
  duration_ms: z.int(),
  request: z.object({
    method: z.string(),
    url: z.string(),
    headers: stored(z.record(z.string(), z.string())),
    body: z.string(),
  }),
  response: z.object({ status: z.int(), body: z.string().nullable() }).nullable(),
  error: z.string().nullable(),
}).meta({ id: "WebhookDeliveryTry" });
export type DeliveryTry = z.infer<typeof DeliveryTry>;

export const DeliveryWithLog = Delivery.extend({ body: z.string(), attempts: z.array(DeliveryTry) })
  .meta({ id: "WebhookDeliveryWithLog" });
