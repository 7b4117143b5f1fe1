/**
 * 1,000 webhook deliveries that are due at once, to one receiver that takes 200 ms for each. What limits is how many are
 * in flight to one receiver at a time: one after the other they would take 200 s.
 */
import { Webhook } from "standardwebhooks";
import type { Measured, Size } from "./results.ts";
import { type Stand, startStand, until } from "./harness.ts";

const sizes = { full: { deliveries: 1000 }, short: { deliveries: 20 } };
const answerMs = 200;
const limitSeconds = 10;
const type = "fine_tuning.job.cancelled";

export async function deliveriesInTime(log: (line: string) => void, size: Size): Promise<Measured[]> {
  const { deliveries } = sizes[size];
  const stand = await startStand({ cronSeconds: 3600 });
  // By `webhook-id`: one that comes twice counts once.
  const answered = new Map<string, number>();
  let secret = "";
  let most = 0;
  let flying = 0;
  const receiver = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, async (request) => {
    most = Math.max(most, ++flying);
    const body = await request.text();
    new Webhook(secret).verify(body, Object.fromEntries(request.headers)); // throws: 500, and never counted
    await new Promise((resolve) => setTimeout(resolve, answerMs));
    flying -= 1;
    answered.set(request.headers.get("webhook-id") ?? "", performance.now());
    return new Response("ok");
  });
  try {
    const endpoint = await stand.openai.webhooks.create({
      name: "bench",
      url: `http://127.0.0.1:${receiver.addr.port}/`,
      event_types: [type],
    });
    secret = endpoint.signing_secret;
    await queue(stand, deliveries);
    const begin = performance.now();
    // The timer's tick, as it finds them due; it returns before they are all sent.
    await stand.stack.cron.tick();
    await until("the last delivery", 6 * limitSeconds, () => answered.size === deliveries);
    const seconds = (Math.max(...answered.values()) - begin) / 1000;
    log(`${most} at once at the most`);
    await recorded(stand, deliveries);
    return [{
      value: seconds,
      unit: `s for ${deliveries} deliveries to a receiver that takes ${answerMs} ms`,
      against: `the limit, ${limitSeconds} s`,
      ratio: limitSeconds / seconds,
      goal: 1,
    }];
  } finally {
    await stand.close();
    await receiver.shutdown();
  }
}

/** As `fan_out` would leave them. */
async function queue({ stack: { sql } }: Stand, deliveries: number): Promise<void> {
  await sql`
    insert into tunebase.webhook_deliveries (
      project_id, event_id, event_type, event_created_at, channel, endpoint_id, body
    )
    select e.project_id, x.event_id, ${type}, now(), 'webhook', e.id, jsonb_build_object(
      'object', 'event', 'id', 'evt_' || replace(x.event_id::text, '-', ''), 'type', ${type}::text,
      'created_at', floor(extract(epoch from now())), 'data', jsonb_build_object('id', 'ftjob-' || n)
    )::text
    from tunebase.webhook_endpoints e, generate_series(1, ${deliveries}::integer) n
    cross join lateral (select case when n > 0 then tunebase_internal.uuid7() end as event_id) x`;
}

/** Waits until each is delivered in the database too, after one try. */
async function recorded({ stack: { sql } }: Stand, deliveries: number): Promise<void> {
  for (let tries = 0;; tries++) {
    const [row] = await sql<{ done: number }[]>`
      select count(*)::integer as done from tunebase.webhook_deliveries where status = 'delivered' and tries = 1`;
    if (row?.done === deliveries) return;
    if (tries > 50) {
      throw new Error(`only ${row?.done} of ${deliveries} deliveries are recorded as delivered at once`);
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
