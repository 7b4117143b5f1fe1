/**
 * Sends what is owed to subscribers, beside dispatch and reconcile: fans events out, leases deliveries, sends them in
 * parallel, records what became of them. At least once: whatever is not recorded is sent again when its lease ends.
 */
import * as z from "zod";
import { logError } from "../_shared/log.ts";
import { nudgeScheduler } from "../_shared/addresses.ts";
import { channelKinds } from "../_shared/contracts/channels.ts";
import { rpc } from "../_shared/database/rpc.ts";
import { channelAdapters, type Message, type Sent } from "../_shared/notifications.ts";
import { post } from "../_shared/outgoing.ts";
import { isLeaving } from "../_shared/isolate.ts";
import type { Platform } from "../_shared/platform.ts";
import { signingSecrets, webhookHeaders } from "../_shared/webhooks.ts";
import { CpuBudget, price } from "./cpu_budget.ts";

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

/** At most so many at once, and so many of them to one receiver. */
const places = 96;
const placesPerTarget = 48;
/** A lease outlives the longest try (15 s) and its recording. */
const leaseSeconds = 60;
/** How long a tick waits for its deliveries. The timer may wait for the tick, and dispatch must not wait for a receiver. */
const waitMs = 1_000;

/** One for an app: ticks that overlap share its places. */
export class Deliverer {
  #busy = new Map<string, number>();
  #results: Result[] = [];
  #running: Promise<void> | null = null;
  #wake = Promise.withResolvers<void>();
  #budget = new CpuBudget(0);
  #sent = 0;

  constructor(private readonly platform: Platform) {}

  /**
   * Fans out and sends what is due, until the newest tick's budget is spent; then it wakes the next. Returns after a second at the latest, with the rest going on; never throws: a
   * receiver is no reason for a tick to fail.
   */
  async tick(budget = new CpuBudget()): Promise<{ owed: number; sent: number }> {
    const before = this.#sent;
    let owed = 0;
    try {
      owed = await this.#fanOut();
      await rpc(this.platform.db, "prune_notifications", { limit: 200 });
    } catch (error) {
      logError("what is owed to subscribers could not be fanned out", error);
    }
    this.#budget = budget;
    this.#wake.resolve();
    this.#running ??= this.#run()
      .catch((error) => logError("deliveries stopped", error))
      .finally(() => this.#running = null);
    if (!await within(this.#running, waitMs) && this.#running !== null) this.platform.later(this.#running);
    return { owed, sent: this.#sent - before };
  }

  async #fanOut(): Promise<number> {
    const slice = 200;
    for (let total = 0, round = 0;; round++) {
      const count = await rpc(this.platform.db, "fan_out_events", { limit: slice });
      total += count;
      if (count < slice || round === 9) return total;
    }
  }

  /** Until nothing is due and nothing is in flight. */
  async #run(): Promise<void> {
    for (;;) {
      this.#wake = Promise.withResolvers();
      const recording = this.#record();
      const claimed = await this.#claim();
      for (const delivery of claimed) this.#start(delivery);
      await recording;
      if (this.#results.length > 0) continue;
      if (this.#busy.size === 0) {
        if (claimed.length === 0) break;
        continue;
      }
      await this.#wake.promise;
      // Answers come in crowds: a few milliseconds later one statement records many.
      await new Promise((resolve) => setTimeout(resolve, 15));
    }
    if (this.#budget.isOver) this.platform.later(nudgeScheduler(this.platform.settings));
  }

  async #claim(): Promise<Claimed[]> {
    const inFlight = [...this.#busy.values()].reduce((sum, count) => sum + count, 0);
    const room = Math.min(places - inFlight, this.#budget.room(price.delivery));
    if (room <= 0 || isLeaving()) return [];
    const claimed = await rpc(this.platform.db, "claim_deliveries", {
      limit: room,
      per_target: placesPerTarget,
      busy: Object.fromEntries(this.#busy),
      lease_seconds: leaseSeconds,
    }, z.array(Claimed));
    this.#budget.spend(claimed.length * price.delivery);
    this.#sent += claimed.length;
    return claimed;
  }

  #start(delivery: Claimed): void {
    const target = delivery.target_id;
    this.#busy.set(target, (this.#busy.get(target) ?? 0) + 1);
    send(this.platform, delivery).then((result) => {
      this.#results.push(result);
      const left = (this.#busy.get(target) ?? 1) - 1;
      if (left > 0) this.#busy.set(target, left);
      else this.#busy.delete(target);
      this.#wake.resolve();
    });
  }

  /** Records what has come in; what cannot be recorded is logged, and sent again when its lease ends. */
  async #record(): Promise<void> {
    const results = this.#results.splice(0);
    if (results.length === 0) return;
    const { db } = this.platform;
    try {
      await rpc(db, "record_deliveries", { results });
    } catch {
      // One at a time, so that one that the database will not take spoils no other.
      for (const result of results) {
        await rpc(db, "record_deliveries", { results: [result] })
          .catch((error) => logError(`delivery ${result.id} could not be recorded`, error));
      }
    }
  }
}

/** One try; never throws. */
async function send(platform: Platform, delivery: Claimed): Promise<Result> {
  let sent: Sent;
  try {
    sent = await (delivery.channel === "webhook"
      ? sendWebhook(platform, delivery)
      : sendToPerson(platform, delivery));
  } catch (error) {
    logError(`delivery ${delivery.id} could not be sent`, error);
    const answer = {
      status: null,
      body: null,
      error: "it could not be sent from here",
      retryAfter: null,
      durationMs: 0,
    };
    sent = { answer, url: delivery.url ?? delivery.target ?? "", headers: {} };
  }
  const { status, body, error, retryAfter, durationMs } = sent.answer;
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
  const answer = await post(url, { headers: { ...open, "webhook-signature": signature }, body }, settings);
  return { answer, url, headers: open };
}

async function sendToPerson({ settings }: Platform, delivery: Claimed): Promise<Sent> {
  if (delivery.channel === "webhook" || delivery.target === null) {
    throw new Error("a message without a channel");
  }
  const channel = {
    id: delivery.target_id,
    kind: delivery.channel,
    target: delivery.target,
    encrypted_url: delivery.encrypted_url,
  };
  const message: Message = JSON.parse(delivery.body);
  const key = `${delivery.event_id}/${delivery.target_id}`;
  return await channelAdapters[channel.kind].send(settings, channel, message, key);
}

/** Whether a promise settles within so many milliseconds; leaves no timer behind. */
async function within(work: Promise<void>, milliseconds: number): Promise<boolean> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<boolean>((resolve) => timer = setTimeout(() => resolve(false), milliseconds));
  try {
    return await Promise.race([work.then(() => true), late]);
  } finally {
    clearTimeout(timer);
  }
}
