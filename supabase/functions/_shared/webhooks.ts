/** Outgoing webhooks: OpenAI's event bodies, signed according to Standard Webhooks v1. */
import { Webhook } from "standardwebhooks";
import { type EventType, sampleStatus } from "./contracts/event_types.ts";
import { webhookSecret } from "./secrets.ts";

/** The secrets that sign an endpoint's events: the current one and, during a rotation, the previous one. */
export function signingSecrets(
  masterKey: string,
  endpointId: string,
  version: number,
  oldSecret: boolean,
): Promise<string[]> {
  const versions = oldSecret && version > 1 ? [version, version - 1] : [version];
  return Promise.all(versions.map((number) => webhookSecret(masterKey, endpointId, number)));
}

/** The headers of one delivery attempt. `webhook-id` is the event's id and stays the same; the timestamp is the attempt's. */
export function webhookHeaders(
  secrets: string[],
  eventId: string,
  body: string,
  now = new Date(),
): { open: Record<string, string>; signature: string } {
  return {
    open: {
      "content-type": "application/json",
      "user-agent": "Tunebase-Webhooks/1",
      "webhook-id": eventId,
      "webhook-timestamp": String(Math.floor(now.getTime() / 1000)),
    },
    signature: secrets.map((secret) => new Webhook(secret).sign(eventId, now, body)).join(" "),
  };
}

/** A test event's body, with the members of a real one. */
export function sampleEvent(type: EventType, eventId: string): string {
  const status = sampleStatus(type);
  const data = status === null
    ? { id: `whe_${"0".repeat(32)}`, name: "An endpoint", reason: "this is a test" }
    : {
      id: `ftjob-${"0".repeat(32)}`,
      status,
      model: "a-base-model",
      fine_tuned_model: type === "fine_tuning.job.succeeded" ? "ft:a-base-model:a-project::test" : null,
      progress: type === "fine_tuning.job.succeeded" ? 100 : 50,
      step: 50,
      total_steps: 100,
      trained_tokens: 1000,
      cost_usd: 0,
      spend_cap_usd: null,
      metadata: {},
      error: type === "fine_tuning.job.failed"
        ? { code: "test", message: "This is a test.", hint: null, param: null }
        : null,
    };
  const created_at = Math.floor(Date.now() / 1000);
  return JSON.stringify({ id: eventId, object: "event", type, created_at, data, test: true });
}
