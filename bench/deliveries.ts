/**
 * 1,000 webhook deliveries due at once, to one receiver that takes 200 ms for each. The limit is the number in flight per
 * receiver: sequentially they would take 200 s.
 */
import { Webhook } from "standardwebhooks";
import type { RawMeasurement, Size } from "./results.ts";
import { type BenchStack, startBenchStack, until } from "./harness.ts";

const sizes = { full: { deliveries: 1000 }, short: { deliveries: 20 } };
const answerMs = 200;
const limitSeconds = 10;
const type = "fine_tuning.job.cancelled";

export async function deliveriesInTime(log: (line: string) => void, size: Size): Promise<RawMeasurement[]> {
  const { deliveries } = sizes[size];
  const bench = await startBenchStack({ cronSeconds: 3600 });
  // By `webhook-id`: duplicates count once.
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
    const endpoint = await bench.openai.webhooks.create({
      name: "bench",
      url: `http://127.0.0.1:${receiver.addr.port}/`,
      event_types: [type],
    });
    secret = endpoint.signing_secret;
    await queue(bench, deliveries);
    const begin = performance.now();
    // A timer tick that finds them due; it returns before all are sent.
    await bench.stack.cron.tick();
    await until("the last delivery", 6 * limitSeconds, () => answered.size === deliveries);
    const seconds = (Math.max(...answered.values()) - begin) / 1000;
    log(`${most} at once at most`);
    await recorded(bench, deliveries);
    return [{
      value: seconds,
      unit: `s for ${deliveries} deliveries to a receiver that takes ${answerMs} ms`,
      against: `the limit, ${limitSeconds} s`,
      ratio: limitSeconds / seconds,
      goal: 1,
    }];
  } finally {
    await bench.close();
    await receiver.shutdown();
  }
}

/** Inserts deliveries as `fan_out` does. */
async function queue({ stack: { sql } }: BenchStack, deliveries: number): Promise<void> {
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

/** Waits until the database has each as delivered after one attempt. */
async function recorded({ stack: { sql } }: BenchStack, deliveries: number): Promise<void> {
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
