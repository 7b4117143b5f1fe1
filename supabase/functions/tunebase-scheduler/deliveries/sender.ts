/**
 * Delivers events to webhook endpoints and notification channels: fans events out, leases deliveries, sends them
 * concurrently and records the results. At least once: a delivery without a recorded result is sent again after its lease.
 */
import * as z from "zod";
import { logError } from "../../_shared/log.ts";
import { wakeScheduler } from "../../_shared/wake_scheduler.ts";
import { channelKinds } from "../../_shared/contracts/channels.ts";
import { rpc } from "../../_shared/database/rpc.ts";
import { channelAdapters, Message, type Sent } from "../../_shared/notifications.ts";
import { failedResult, post } from "../../_shared/safe_fetch.ts";
import { isShuttingDown } from "../../_shared/isolate.ts";
import type { Platform } from "../../_shared/platform.ts";
import { signingSecrets, webhookHeaders } from "../../_shared/webhooks.ts";
import { CpuBudget, price } from "../cpu_budget.ts";

/** A delivery as `claim_deliveries` leases it. */
const Claimed = z.object({
  id: z.string(),
  lease: z.int(),
  event_id: z.string(),
  target_id: z.string(),
  channel: z.enum(["webhook", ...channelKinds]),
  body: z.string(),
  url: z.string().nullable(),
  secret_version: z.int().nullable(),
  old_secret: z.boolean(),
  target: z.string().nullable(),
  encrypted_url: z.string().nullable(),
});
type Claimed = z.infer<typeof Claimed>;
interface Result {
  id: string;
  lease: number;
  ok: boolean;
  status: number | null;
  body: string | null;
  error: string | null;
  retry_after: number | null;
  url: string;
  headers: Record<string, string>;
  duration_ms: number;
}

/** Maximum concurrent deliveries, in total and to one receiver. */
const maxInFlight = 96;
const maxInFlightPerTarget = 48;
/** Longer than the longest attempt (15 s) and recording its result. */
const leaseSeconds = 60;
/** How long a tick waits for its deliveries. The timer may be waiting for the tick, and dispatch must not wait for receivers. */
const waitMs = 1_000;

/** One per app: overlapping ticks share its limits. */
export class DeliverySender {
  /** Deliveries in flight, by receiver. */
  #inFlight = new Map<string, number>();
  #results: Result[] = [];
  #running: Promise<void> | null = null;
  #wake = Promise.withResolvers<void>();
  #budget = new CpuBudget(0);
  #sent = 0;

  constructor(private readonly platform: Platform) {}

  /**
   * Fans out events and sends what is due until the newest tick's budget is used up, then wakes the next tick. Returns after
   * at most a second and continues in the background. Never throws: a receiver must not make a tick fail.
   */
  async tick(budget = new CpuBudget()): Promise<{ fanned_out: number; sent: number }> {
    const before = this.#sent;
    let fanned_out = 0;
    try {
      fanned_out = await this.#fanOut();
      await rpc(this.platform.db, "prune_notifications", { limit: 200 });
    } catch (error) {
      logError("events could not be fanned out", error);
    }
    this.#budget = budget;
    this.#wake.resolve();
    this.#running ??= this.#run()
      .catch((error) => logError("deliveries stopped", error))
      .finally(() => this.#running = null);
    if (!await within(this.#running, waitMs) && this.#running !== null) {
      this.platform.waitUntil(this.#running);
    }
    return { fanned_out, sent: this.#sent - before };
  }

  async #fanOut(): Promise<number> {
    const limit = 200;
    for (let total = 0, round = 0;; round++) {
      const count = await rpc(this.platform.db, "fan_out_events", { limit });
      total += count;
      if (count < limit || round === 9) return total;
    }
  }

  /** Runs until nothing is due or in flight. */
  async #run(): Promise<void> {
    for (;;) {
      this.#wake = Promise.withResolvers();
      const recording = this.#record();
      const claimed = await this.#claim();
      for (const delivery of claimed) this.#start(delivery);
      await recording;
      if (this.#results.length > 0) continue;
      if (this.#inFlight.size === 0) {
        if (claimed.length === 0) break;
        continue;
      }
      await this.#wake.promise;
      // Results arrive in bursts: a few milliseconds later one statement records many of them.
      await new Promise((resolve) => setTimeout(resolve, 15));
    }
    if (this.#budget.isOver) this.platform.waitUntil(wakeScheduler(this.platform.settings));
  }

  async #claim(): Promise<Claimed[]> {
    const inFlight = [...this.#inFlight.values()].reduce((sum, count) => sum + count, 0);
    const room = Math.min(maxInFlight - inFlight, this.#budget.room(price.delivery));
    if (room <= 0 || isShuttingDown()) return [];
    const claimed = await rpc(this.platform.db, "claim_deliveries", {
      limit: room,
      per_target: maxInFlightPerTarget,
      busy: Object.fromEntries(this.#inFlight),
      lease_seconds: leaseSeconds,
    }, z.array(Claimed));
    this.#budget.spend(claimed.length * price.delivery);
    this.#sent += claimed.length;
    return claimed;
  }

  #start(delivery: Claimed): void {
    const target = delivery.target_id;
    this.#inFlight.set(target, (this.#inFlight.get(target) ?? 0) + 1);
    send(this.platform, delivery).then((result) => {
      this.#results.push(result);
      const left = (this.#inFlight.get(target) ?? 1) - 1;
      if (left > 0) this.#inFlight.set(target, left);
      else this.#inFlight.delete(target);
      this.#wake.resolve();
    });
  }

  /** Records results. A delivery whose result cannot be recorded is logged, and sent again after its lease. */
  async #record(): Promise<void> {
    const results = this.#results.splice(0);
    if (results.length === 0) return;
    const { db } = this.platform;
    try {
      await rpc(db, "record_deliveries", { results });
    } catch {
      // One at a time, so that one invalid result does not block the others.
      for (const result of results) {
        await rpc(db, "record_deliveries", { results: [result] })
          .catch((error) => logError(`delivery ${result.id} could not be recorded`, error));
      }
    }
  }
}

/** One delivery attempt. Never throws. */
async function send(platform: Platform, delivery: Claimed): Promise<Result> {
  let sent: Sent;
  try {
    sent = await (delivery.channel === "webhook"
      ? sendWebhook(platform, delivery)
      : sendNotification(platform, delivery));
  } catch (error) {
    logError(`delivery ${delivery.id} could not be sent`, error);
    const result = failedResult("an internal error occurred before it was sent");
    sent = { result, url: delivery.url ?? delivery.target ?? "", headers: {} };
  }
  const { status, body, error, retryAfter, durationMs } = sent.result;
  return {
    id: delivery.id,
    lease: delivery.lease,
    ok: status !== null && status >= 200 && status < 300,
    status,
    body,
    error,
    retry_after: retryAfter,
    url: sent.url,
    headers: sent.headers,
    duration_ms: durationMs,
  };
}

async function sendWebhook({ settings }: Platform, delivery: Claimed): Promise<Sent> {
  const { url, body } = delivery;
  if (url === null) throw new Error("a webhook without an endpoint");
  const secrets = await signingSecrets(
    settings.masterKey,
    delivery.target_id,
    delivery.secret_version ?? 1,
    delivery.old_secret,
  );
  const { open, signature } = webhookHeaders(secrets, `evt_${delivery.event_id.replaceAll("-", "")}`, body);
  const result = await post(url, { headers: { ...open, "webhook-signature": signature }, body }, settings);
  return { result, url, headers: open };
}

async function sendNotification({ settings }: Platform, delivery: Claimed): Promise<Sent> {
  if (delivery.channel === "webhook" || delivery.target === null) {
    throw new Error("a message without a channel");
  }
  const channel = {
    id: delivery.target_id,
    kind: delivery.channel,
    target: delivery.target,
    encrypted_url: delivery.encrypted_url,
  };
  const message = Message.parse(JSON.parse(delivery.body));
  const key = `${delivery.event_id}/${delivery.target_id}`;
  return await channelAdapters[channel.kind].send(settings, channel, message, key);
}

/** Whether a promise settles within `milliseconds`. Leaves no timer behind. */
async function within(work: Promise<void>, milliseconds: number): Promise<boolean> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const timeout = new Promise<boolean>((resolve) => timer = setTimeout(() => resolve(false), milliseconds));
  try {
    return await Promise.race([work.then(() => true), timeout]);
  } finally {
    clearTimeout(timer);
  }
}
