/** Serializes webhook endpoints, deliveries, notifications and notification channels. */
import { webhookSecret } from "../../_shared/secrets.ts";
import { publicId } from "../ids.ts";
import type * as objects from "../openapi/objects/index.ts";
import type { AttemptRow, ChannelRow, DeliveryRow, EndpointRow, NotificationRow } from "../rows.ts";
import { seconds } from "../time.ts";

/** OpenAI's webhook_endpoint object; `enabled` and the fields after it are additions. `withSecret`: include the secret. */
export async function renderEndpoint(
  row: EndpointRow,
  masterKey: string,
  withSecret = false,
): Promise<objects.WebhookEndpoint> {
  const secret = await webhookSecret(masterKey, row.id, row.secret_version);
  return {
    id: publicId("webhookEndpoint", row.id),
    object: "webhook_endpoint" as const,
    created_at: seconds(row.created_at),
    updated_at: seconds(row.updated_at),
    name: row.name,
    url: row.url,
    event_types: row.event_types,
    signing_secret_hint: `whsec_…${secret.slice(-4)}`,
    ...(withSecret ? { signing_secret: secret } : {}),
    enabled: row.enabled,
    disabled_reason: row.disabled_reason,
    disabled_at: seconds(row.disabled_at),
    progress_seconds: row.progress_seconds,
    old_secret_active_until: seconds(row.old_secret_until),
  };
}

/** A webhook_delivery object. {@link renderAttempt} renders its log. */
export function renderDelivery(row: DeliveryRow): objects.Delivery {
  return {
    id: publicId("webhookDelivery", row.id),
    object: "webhook_delivery" as const,
    created_at: seconds(row.created_at),
    channel: row.channel,
    webhook_endpoint_id: row.endpoint_id === null ? null : publicId("webhookEndpoint", row.endpoint_id),
    notification_channel_id: row.channel_id === null ? null : publicId("notificationChannel", row.channel_id),
    event_id: publicId("webhookEvent", row.event_id),
    event_type: row.event_type,
    fine_tuning_job_id: row.job_id === null ? null : publicId("job", row.job_id),
    status: row.status,
    reason: row.reason,
    tries: row.tries,
    next_try_at: seconds(row.next_at),
    last_tried_at: seconds(row.last_tried_at),
    delivered_at: seconds(row.delivered_at),
    response_status: row.response_status,
    error: row.error,
    duration_ms: row.duration_ms,
  };
}

/** A delivery attempt: the request without its signature, and the first 4 KiB of the response. */
export function renderAttempt(row: AttemptRow, body: string): objects.DeliveryTry {
  return {
    created_at: seconds(row.created_at),
    duration_ms: row.duration_ms,
    request: { method: "POST", url: row.url, headers: row.request_headers, body },
    response: row.response_status === null ? null : { status: row.response_status, body: row.response_body },
    error: row.error,
  };
}

/** A notification object. `read_at` is the caller's. */
export function renderNotification(row: NotificationRow): objects.Notification {
  return {
    id: publicId("notification", row.id),
    object: "notification" as const,
    created_at: seconds(row.created_at),
    read_at: seconds(row.read_at),
    type: row.type,
    level: row.level,
    title: row.title,
    text: row.text,
    fine_tuning_job_id: row.job_id === null ? null : publicId("job", row.job_id),
  };
}

/** A notification_channel object. A Slack URL is never returned, only its hint. */
export function renderChannel(row: ChannelRow): objects.Channel {
  return {
    id: publicId("notificationChannel", row.id),
    object: "notification_channel" as const,
    created_at: seconds(row.created_at),
    updated_at: seconds(row.updated_at),
    kind: row.kind,
    target: row.target,
    event_types: row.event_types,
    enabled: row.enabled,
    disabled_reason: row.disabled_reason,
    disabled_at: seconds(row.disabled_at),
  };
}
