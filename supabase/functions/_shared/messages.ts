/** Messages to people: e-mail over HTTP in Resend's shape (the platform blocks mail ports), and Slack's incoming webhooks. */
import { type Answer, post } from "./outgoing.ts";
import type { Settings } from "./platform.ts";
import { unseal } from "./secrets.ts";

/** What `tunebase_internal.render_notification` says of an event. */
export interface Message {
  level: "info" | "warn" | "error";
  title: string;
  text: string;
  /** The job's UUID, when it is about one. */
  job_id: string | null;
}

/** Where a message goes. `encrypted_url` is Slack's URL, encrypted; `target` is an address, or a hint at that URL. */
export interface Channel {
  id: string;
  kind: "email" | "slack";
  target: string;
  encrypted_url: string | null;
}

/** One try: the answer, and what of the request may be shown. */
export interface Sent {
  answer: Answer;
  url: string;
  headers: Record<string, string>;
}

/** The purpose that a channel's secret is sealed for. */
export const sealPurpose = (channelId: string) => `slack/${channelId}`;

/** Sends one message. `key` makes a repeat of the same message recognisable to Resend (24 hours). */
export function sendMessage(
  settings: Settings,
  channel: Channel,
  message: Message,
  key: string,
): Promise<Sent> {
  return channel.kind === "email"
    ? sendEmail(settings, channel.target, message, key)
    : sendSlack(settings, channel, message);
}

/** https://resend.com/docs/api-reference/emails/send-email */
async function sendEmail(settings: Settings, to: string, message: Message, key: string): Promise<Sent> {
  const url = `${settings.resendUrl}/emails`;
  const shown = { "content-type": "application/json", "idempotency-key": key };
  if (settings.resendKey === null || settings.emailFrom === null) {
    const error = "RESEND_API_KEY or TUNEBASE_EMAIL_FROM is not set on this server";
    return {
      answer: { status: null, body: null, error, retryAfter: null, durationMs: 0 },
      url,
      headers: shown,
    };
  }
  const answer = await post(url, {
    headers: { ...shown, authorization: `Bearer ${settings.resendKey}` },
    body: JSON.stringify({
      from: settings.emailFrom,
      to: [to],
      subject: message.title,
      text: bodyText(settings, message),
    }),
  }, settings);
  return { answer, url, headers: shown };
}

/** https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks */
async function sendSlack(settings: Settings, channel: Channel, message: Message): Promise<Sent> {
  const headers = { "content-type": "application/json" };
  if (channel.encrypted_url === null) throw new Error(`channel ${channel.id} has no URL`);
  const url = await unseal(settings.masterKey, sealPurpose(channel.id), channel.encrypted_url);
  const answer = await post(url, {
    headers,
    body: JSON.stringify({ text: `*${escaped(message.title)}*\n${escaped(bodyText(settings, message))}` }),
  }, settings);
  return { answer, url: channel.target, headers };
}

function bodyText(settings: Settings, message: Message): string {
  const link = settings.dashboardUrl === null || message.job_id === null
    ? []
    : ["", `${settings.dashboardUrl}/jobs/ftjob-${message.job_id.replaceAll("-", "")}`];
  return [message.text, ...link].join("\n");
}

/** Slack's three control characters: an error message must not mention a channel or hide a link. */
function escaped(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}
