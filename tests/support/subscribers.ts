/** Users with a webhook endpoint on a local receiver, and jobs that produce events for them. */
import type OpenAI from "openai";
import { Webhook } from "standardwebhooks";
import type { Received, WebhookReceiver } from "./webhook_receiver.ts";
import type { TestUser, Tunebase } from "./test_server.ts";
import { createJob } from "./fake_worker.ts";

/** Our own event types in addition to OpenAI's: the SDK's type lacks them, its runtime accepts them. */
export const types = (...names: string[]) =>
  names as unknown as OpenAI.Webhooks.WebhookCreateParams["event_types"];

/** The UUID of a public id. */
export const uuid = (id: string) =>
  id.replace(/^[a-z]+[-_]/, "").replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");

/** Throws unless the secret signed it. */
export const verified = (secret: string, { body, headers }: Received) =>
  new Webhook(secret).verify(body, headers);

export function subscribers(tunebase: Tunebase, receiver: WebhookReceiver) {
  const { sql } = tunebase;
  return {
    /** A user with an endpoint at its own path; subscribed to cancelled jobs by default. */
    async withEndpoint(...names: string[]) {
      const user = await tunebase.user();
      const path = `/${crypto.randomUUID()}`;
      const endpoint = await user.openai.webhooks.create({
        name: "hooks",
        url: receiver.url + path,
        event_types: types(...(names.length > 0 ? names : ["fine_tuning.job.cancelled"])),
      });
      return { user, path, endpoint, secret: endpoint.signing_secret };
    },

    /** Creates and cancels a job: two events. */
    async cancelledJob(user: TestUser) {
      const job = await createJob(user);
      await user.openai.fineTuning.jobs.cancel(job.id);
      return job;
    },

    /** The UUID of a running job, changed in its row: no worker is needed. */
    async runningJob(user: TestUser): Promise<string> {
      const id = uuid((await createJob(user)).id);
      await sql`update tunebase.jobs set status = 'running', due_at = null, started_at = now() where id = ${id}`;
      return id;
    },

    /** Fails a job by its row, with an actionable error. */
    fail: (id: string) =>
      sql`update tunebase.jobs set status = 'failed', finished_at = now(), error_code = 'out_of_memory',
        error_message = 'The GPU ran out of memory <here>.', error_hint = 'Use a smaller batch_size.' where id = ${id}`,

    /** Ticks until nothing is due or in flight. */
    async settle(): Promise<void> {
      for (let round = 0; round < 200; round++) {
        await tunebase.tick();
        const left = await sql`
          select 1 from tunebase.webhook_deliveries
          where status = 'pending' and (next_at <= now() or leased_until > now())
          union all
          select 1 from tunebase_internal.outbox where fanned_out_at is null and due_at <= now()`;
        if (left.length === 0) return;
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      throw new Error("deliveries do not settle");
    },

    /** An endpoint's newest delivery, with the seconds until its next attempt. */
    async deliveryOf(endpoint: { id: string }) {
      const [row] = await sql`
        select *, extract(epoch from next_at - now())::float as wait from tunebase.webhook_deliveries
        where endpoint_id = ${uuid(endpoint.id)} order by id desc limit 1`;
      if (row === undefined) throw new Error("there is no delivery");
      return row;
    },

    /** Makes an endpoint's pending deliveries due now. */
    due: (endpoint: { id: string }) =>
      sql`update tunebase.webhook_deliveries set next_at = now()
        where endpoint_id = ${uuid(endpoint.id)} and status = 'pending'`,
  };
}
