/** Callbacks and webhooks in flight: delivered now, late, twice, out of order or never; some forged, some expired. */
import { Webhook } from "standardwebhooks";
import type { FaultPlan } from "./faults.ts";
import type { Attempt, Message, Worker } from "./model.ts";
import { mix } from "./random.ts";
import { type Environment, url } from "./environment.ts";

/** A callback of a worker, signed now. */
export function callback(
  env: Environment,
  attempt: Attempt,
  worker: Worker,
  name: string,
  body: Record<string, unknown>,
  secret: string | null = worker.run.secret,
  forged = false,
): Message {
  const key = mix(env.seed, env.requestCount++, 2);
  return {
    key,
    name,
    url: `${worker.run.callbackUrl}/${name}`,
    text: JSON.stringify(body),
    body,
    secret,
    id: `msg_${key}`,
    signedAt: env.now(),
    attempt,
    worker,
    forged,
  };
}

/** Delivers a message; returns the reply, or null if the sender gets none. */
export async function deliver(
  env: Environment,
  message: Message,
  plan: FaultPlan,
): Promise<Record<string, unknown> | null> {
  // The signature ages with the simulated clock.
  const age = Math.floor((env.now() - message.signedAt) / 1000);
  const headers: Record<string, string> = { "content-type": "application/json" };
  if (message.secret !== null) {
    const signed = new Date(Date.now() - age * 1000);
    headers["webhook-id"] = message.id;
    headers["webhook-timestamp"] = String(Math.floor(signed.getTime() / 1000));
    headers["webhook-signature"] = new Webhook(message.secret).sign(message.id, signed, message.text);
  }
  const path = message.url.slice(`${url}/functions/v1/tunebase-callback`.length);
  const { outcome, request } = await env.send(
    "tunebase-callback",
    message.name,
    path,
    { method: "POST", headers, body: message.text },
    plan,
    message,
  );
  if (outcome !== "done") {
    env.note(`  ${message.name} of ${message.worker?.id}: ${outcome} after ${request.effects.join(", ")}`);
    return null;
  }
  const tooOld = message.secret !== null && age > 298;
  const status = request.response?.status;
  if (message.forged && status !== 401) {
    env.reportProblem(`forged: a forged ${message.name} returned ${status}`);
  }
  const reply = await env.answer(request, message.forged || tooOld ? [401] : []);
  const summary = reply?.directive ?? reply?.detail ??
    (reply?.claimed === true ? `fence ${reply.fence}` : reply?.reason);
  env.note(`  ${message.name} of ${message.worker?.id ?? message.attempt.id} → ${status} ${summary ?? ""}`);
  return reply;
}
