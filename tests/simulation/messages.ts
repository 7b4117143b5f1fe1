/** Callbacks and webhooks on their way: delivered now, later, twice, in any order, or never; forged, or too old. */
import { Webhook } from "standardwebhooks";
import type { Plan } from "./faults.ts";
import type { Attempt, Message, Worker } from "./model.ts";
import { mix } from "./random.ts";
import { url, type World } from "./environment.ts";

/** A callback of a worker, signed now. */
export function callback(
  world: World,
  attempt: Attempt,
  worker: Worker,
  name: string,
  body: Record<string, unknown>,
  secret: string | null = worker.run.secret,
  forged = false,
): Message {
  const key = mix(world.seed, world.flights++, 2);
  return {
    key,
    name,
    url: `${worker.run.callbackUrl}/${name}`,
    text: JSON.stringify(body),
    body,
    secret,
    id: `msg_${key}`,
    signedAt: world.now(),
    attempt,
    worker,
    forged,
  };
}

/** Hands one over; the reply, or null when there is none that the sender gets. */
export async function deliver(
  world: World,
  message: Message,
  plan: Plan,
): Promise<Record<string, unknown> | null> {
  // A clock that was moved on has made the signature older.
  const age = Math.floor((world.now() - message.signedAt) / 1000);
  const headers: Record<string, string> = { "content-type": "application/json" };
  if (message.secret !== null) {
    const signed = new Date(Date.now() - age * 1000);
    headers["webhook-id"] = message.id;
    headers["webhook-timestamp"] = String(Math.floor(signed.getTime() / 1000));
    headers["webhook-signature"] = new Webhook(message.secret).sign(message.id, signed, message.text);
  }
  const path = message.url.slice(`${url}/functions/v1/tunebase-callback`.length);
  const { landing, flight } = await world.send(
    "tunebase-callback",
    message.name,
    path,
    { method: "POST", headers, body: message.text },
    plan,
    message,
  );
  if (landing !== "done") {
    world.tell(`  ${message.name} of ${message.worker?.id}: ${landing} after ${flight.effects.join(", ")}`);
    return null;
  }
  const tooOld = message.secret !== null && age > 298;
  const status = flight.response?.status;
  if (message.forged && status !== 401) {
    world.wrong(`forged: a forged ${message.name} was answered ${status}`);
  }
  const reply = await world.answer(flight, message.forged || tooOld ? [401] : []);
  const said = reply?.order ?? reply?.detail ??
    (reply?.claimed === true ? `fence ${reply.fence}` : reply?.reason);
  world.tell(`  ${message.name} of ${message.worker?.id ?? message.attempt.id} → ${status} ${said ?? ""}`);
  return reply;
}
