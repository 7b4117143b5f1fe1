/** Notifications for people. Each kind of channel says what its target is, and how a message is sent there. */
import * as z from "zod";
import type { ChannelKind } from "./contracts/channels.ts";
import { ApiError } from "./errors.ts";
import { type Answer, checkUrl, OutgoingError, post } from "./outgoing.ts";
import type { Settings } from "./platform.ts";
import { seal, unseal } from "./secrets.ts";
import { check, fields } from "./validation.ts";

/** What `tunebase_internal.render_notification` returns for an event. */
export interface Message {
  level: "info" | "warn" | "error";
  title: string;
  text: string;
  /** The job's UUID, when the message is about one. */
  job_id: string | null;
}

/** Where a message goes. A secret target is stored encrypted; `target` is then a hint that is safe to show. */
export interface Channel {
  id: string;
  kind: ChannelKind;
  target: string;
  encrypted_url: string | null;
}

/** One attempt: the answer, and the parts of the request that are safe to show. */
export interface Sent {
  answer: Answer;
  url: string;
  headers: Record<string, string>;
}

interface ChannelAdapter {
  /** Checks what a client sent as `target`. Throws an `ApiError` that names the field. */
  resolveTarget(
    settings: Settings,
    channelId: string,
    target: string,
  ): Promise<Pick<Channel, "target"> & { encrypted_url?: string }>;
  /** Sends one message. `key` identifies the message, so that a service can drop a repeat. */
  send(settings: Settings, channel: Channel, message: Message, key: string): Promise<Sent>;
}

const EmailTarget = fields({ target: z.email({ error: "must be an email address" }).max(320) });

/** Email over HTTP in Resend's shape, because the platform blocks SMTP ports. */
const email: ChannelAdapter = {
  resolveTarget(settings, _channelId, target) {
    if (settings.resendKey === null || settings.emailFrom === null) throw ApiError.of("email_not_configured");
    return Promise.resolve(check(EmailTarget, { target }));
  },

  /** https://resend.com/docs/api-reference/emails/send-email. Resend remembers `key` for 24 hours. */
  async send(settings, { target }, message, key) {
    const url = `${settings.resendUrl}/emails`;
    const headers = { "content-type": "application/json", "idempotency-key": key };
    if (settings.resendKey === null || settings.emailFrom === null) {
      const error = "RESEND_API_KEY or TUNEBASE_EMAIL_FROM is not set on this server";
      return { answer: { status: null, body: null, error, retryAfter: null, durationMs: 0 }, url, headers };
    }
    const answer = await post(url, {
      headers: { ...headers, authorization: `Bearer ${settings.resendKey}` },
      body: JSON.stringify({
        from: settings.emailFrom,
        to: [target],
        subject: message.title,
        text: bodyText(settings, message),
      }),
    }, settings);
    return { answer, url, headers };
  },
};

/** https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks. The URL is the secret. */
const slack: ChannelAdapter = {
  async resolveTarget(settings, channelId, target) {
    const refuse = (why: string) =>
      new ApiError("invalid_request", [{ param: "target", message: `target: ${why}` }]);
    let url: URL;
    try {
      url = checkUrl(target, settings);
    } catch (error) {
      // The error names no part of the URL, and neither does the answer.
      if (error instanceof OutgoingError) throw refuse(error.message);
      throw error;
    }
    const loopback = url.protocol === "http:"; // checkUrl allows it only where the operator does
    if (!loopback && !["hooks.slack.com", "hooks.slack-gov.com"].includes(url.hostname)) {
      throw refuse("must be the URL of a Slack incoming webhook, https://hooks.slack.com/services/…");
    }
    return {
      target: `${url.host}/…${url.href.slice(-4)}`,
      encrypted_url: await seal(settings.masterKey, sealPurpose("slack", channelId), url.href),
    };
  },

  async send(settings, channel, message) {
    const headers = { "content-type": "application/json" };
    if (channel.encrypted_url === null) throw new Error(`channel ${channel.id} has no URL`);
    const url = await unseal(settings.masterKey, sealPurpose("slack", channel.id), channel.encrypted_url);
    const answer = await post(url, {
      headers,
      body: JSON.stringify({
        text: `*${escapeSlack(message.title)}*\n${escapeSlack(bodyText(settings, message))}`,
      }),
    }, settings);
    return { answer, url: channel.target, headers };
  },
};

export const channelAdapters: Record<ChannelKind, ChannelAdapter> = { email, slack };

/** Binds an encrypted URL to its channel: copied to another row, it does not decrypt. */
const sealPurpose = (kind: ChannelKind, channelId: string) => `${kind}/${channelId}`;

function bodyText(settings: Settings, message: Message): string {
  const link = settings.dashboardUrl === null || message.job_id === null
    ? []
    : ["", `${settings.dashboardUrl}/jobs/ftjob-${message.job_id.replaceAll("-", "")}`];
  return [message.text, ...link].join("\n");
}

/** Slack's three control characters: an error message must not mention a channel or hide a link. */
function escapeSlack(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}
