/** Notifications by email and Slack: one adapter per kind of channel. */
import * as z from "zod";
import type { ChannelKind } from "./contracts/channels.ts";
import { logLevels } from "./contracts/statuses.ts";
import { ApiError } from "./errors.ts";
import { BlockedUrlError, checkUrl, failedResult, type HttpResult, post } from "./safe_fetch.ts";
import type { Settings } from "./platform.ts";
import { decrypt, encrypt } from "./secrets.ts";
import { parseOrThrow, strictObject } from "./validation.ts";

/** What `tunebase_internal.render_notification` returns for an event. `job_id`: the job's UUID, if the event has a job. */
export const Message = z.object({
  level: z.enum(logLevels),
  title: z.string(),
  text: z.string(),
  job_id: z.string().nullable(),
});
export type Message = z.infer<typeof Message>;

/** A notification channel. A secret target is stored encrypted, and `target` is then a hint that is safe to show. */
export interface Channel {
  id: string;
  kind: ChannelKind;
  target: string;
  encrypted_url: string | null;
}

/** One delivery attempt: the result, and the parts of the request that are safe to show. */
export interface Sent {
  result: HttpResult;
  url: string;
  headers: Record<string, string>;
}

interface ChannelAdapter {
  /** Validates the `target` that a client sent. Throws an `ApiError` that names the field. */
  resolveTarget(
    settings: Settings,
    channelId: string,
    target: string,
  ): Promise<Pick<Channel, "target"> & { encrypted_url?: string }>;
  /** Sends one message. `key` identifies the message, so that a service can drop a repeat. */
  send(settings: Settings, channel: Channel, message: Message, key: string): Promise<Sent>;
}

const EmailTarget = strictObject({ target: z.email({ error: "must be an email address" }).max(320) });

/** Email over HTTP in Resend's shape, because the platform blocks SMTP ports. */
const email: ChannelAdapter = {
  resolveTarget(settings, _channelId, target) {
    if (settings.resendKey === null || settings.emailFrom === null) throw ApiError.of("email_not_configured");
    return Promise.resolve(parseOrThrow(EmailTarget, { target }));
  },

  /** https://resend.com/docs/api-reference/emails/send-email. Resend remembers `key` for 24 hours. */
  async send(settings, { target }, message, key) {
    const url = `${settings.resendUrl}/emails`;
    const headers = { "content-type": "application/json", "idempotency-key": key };
    if (settings.resendKey === null || settings.emailFrom === null) {
      const error = "RESEND_API_KEY or TUNEBASE_EMAIL_FROM is not set on this server";
      return { result: failedResult(error), url, headers };
    }
    const result = await post(url, {
      headers: { ...headers, authorization: `Bearer ${settings.resendKey}` },
      body: JSON.stringify({
        from: settings.emailFrom,
        to: [target],
        subject: message.title,
        text: bodyText(settings, message),
      }),
    }, settings);
    return { result, url, headers };
  },
};

/** https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks. The URL is the secret. */
const slack: ChannelAdapter = {
  async resolveTarget(settings, channelId, target) {
    const invalid = (reason: string) =>
      new ApiError("invalid_request", [{ param: "target", message: `target: ${reason}` }]);
    let url: URL;
    try {
      url = checkUrl(target, settings);
    } catch (error) {
      // The message must not repeat the URL, which is a secret.
      if (error instanceof BlockedUrlError) throw invalid(error.message);
      throw error;
    }
    const loopback = url.protocol === "http:"; // checkUrl allows it only for loopback, if the operator does
    if (!loopback && !["hooks.slack.com", "hooks.slack-gov.com"].includes(url.hostname)) {
      throw invalid("must be the URL of a Slack incoming webhook, https://hooks.slack.com/services/…");
    }
    return {
      target: `${url.host}/…${url.href.slice(-4)}`,
      encrypted_url: await encrypt(settings.masterKey, encryptionPurpose("slack", channelId), url.href),
    };
  },

  async send(settings, channel, message) {
    const headers = { "content-type": "application/json" };
    if (channel.encrypted_url === null) throw new Error(`channel ${channel.id} has no URL`);
    const url = await decrypt(
      settings.masterKey,
      encryptionPurpose("slack", channel.id),
      channel.encrypted_url,
    );
    const result = await post(url, {
      headers,
      body: JSON.stringify({
        text: `*${escapeSlack(message.title)}*\n${escapeSlack(bodyText(settings, message))}`,
      }),
    }, settings);
    return { result, url: channel.target, headers };
  },
};

export const channelAdapters: Record<ChannelKind, ChannelAdapter> = { email, slack };

/** Binds an encrypted URL to its channel: in another channel's row it does not decrypt. */
const encryptionPurpose = (kind: ChannelKind, channelId: string) => `${kind}/${channelId}`;

function bodyText(settings: Settings, message: Message): string {
  const link = settings.dashboardUrl === null || message.job_id === null
    ? []
    : ["", `${settings.dashboardUrl}/jobs/ftjob-${message.job_id.replaceAll("-", "")}`];
  return [message.text, ...link].join("\n");
}

/** Escapes Slack's control characters, so that an error message cannot mention a channel or hide a link. */
function escapeSlack(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}
