/** What concerns those who are told of jobs: endpoints, deliveries, notifications and their channels. */
import { assertEquals } from "#assert";
import type OpenAI from "openai";
import { uuid } from "../support/subscribers.ts";
import type { Lane } from "./harness.ts";
import { done, type Run } from "./scenario.ts";

/** What a scenario does with an endpoint that is there before and gone after it. */
const withEndpoint = (
  run: (
    lane: Lane,
    doom: () => Promise<void>,
    endpoint: OpenAI.Webhooks.WebhookEndpoint,
  ) => Promise<unknown>,
): Run =>
async (lane, doom) => {
  const endpoint = await lane.endpoint();
  const result = await run(lane, doom, endpoint);
  await done(lane.openai.webhooks.delete(endpoint.id), 404);
  return result;
};

/** How often each event has come to an endpoint; the ids say which are the same. */
const came = (lane: Lane, { url }: { url: string }) =>
  lane.receiver.at(new URL(url).pathname).map(({ headers }) => headers["webhook-id"]);

/** A job that has succeeded, and whose endpoint has been told. */
async function told(lane: Lane) {
  const { worker } = await lane.running();
  await worker.finishWhole();
  await lane.tick();
}

const row = async (lane: Lane, { id }: { id: string }) => {
  const [delivery] = await lane.tunebase.sql`
    select id, status, tries from tunebase.webhook_deliveries where endpoint_id = ${uuid(id)}`;
  return { id: String(delivery?.id), status: String(delivery?.status), tries: Number(delivery?.tries) };
};

const slack = (lane: Lane) => ({
  body: { kind: "slack", target: `${lane.receiver.url}/${crypto.randomUUID()}` },
});
type Channel = { id: string; enabled: boolean };

export const subscriberApi: Record<string, Run> = {
  "a webhook endpoint is created": async (lane, doom) => {
    const before = await lane.count("tunebase.webhook_endpoints");
    await doom();
    const endpoint = await lane.openai.webhooks.create(lane.endpointParams());
    assertEquals(await lane.count("tunebase.webhook_endpoints"), before + 1, "one endpoint");
    await lane.openai.webhooks.delete(endpoint.id);
    return endpoint.signing_secret.startsWith("whsec_");
  },
  "a webhook endpoint is changed": withEndpoint(async (lane, doom, { id }) => {
    await doom();
    return (await lane.openai.webhooks.update(id, { name: "others" })).name;
  }),
  "a webhook's secret is rotated": withEndpoint(async (lane, doom, { id }) => {
    await doom();
    await lane.openai.webhooks.rotateSecret(id, { keep_old_secret_active_for_24_hours: true });
    return await lane.count(`tunebase.webhook_endpoints where id = '${uuid(id)}' and secret_version = 2`);
  }),
  "a webhook endpoint is tested": withEndpoint(async (lane, doom, endpoint) => {
    await doom();
    const { status_code } = await lane.openai.webhooks.test(endpoint.id, {
      event_type: "fine_tuning.job.succeeded",
    });
    return status_code;
  }),
  "a webhook endpoint is deleted": async (lane, doom) => {
    const { id } = await lane.endpoint();
    await doom();
    await done(lane.openai.webhooks.delete(id), 404);
    return await lane.count(`tunebase.webhook_endpoints where id = '${uuid(id)}'`);
  },
  "a delivery is replayed": withEndpoint(async (lane, doom, endpoint) => {
    await told(lane);
    const { id } = await row(lane, endpoint);
    await doom();
    await lane.openai.post(`/webhook_deliveries/${id}/replay`);
    await lane.tick();
    const ids = came(lane, endpoint);
    return [ids.length, new Set(ids).size, (await row(lane, endpoint)).status];
  }),
  "what has died at an endpoint is replayed": withEndpoint(async (lane, doom, endpoint) => {
    await told(lane);
    await lane.tunebase.sql`
      update tunebase.webhook_deliveries set status = 'dead', next_at = null, delivered_at = null, reason = 'for this test'
      where endpoint_id = ${uuid(endpoint.id)}`;
    await doom();
    await lane.openai.post(`/webhook_endpoints/${endpoint.id}/replay`, { body: { since: 0 } });
    await lane.tick();
    const ids = came(lane, endpoint);
    return [ids.length, new Set(ids).size, (await row(lane, endpoint)).status];
  }),
  "notifications are read": async (lane, doom) => {
    await told(lane);
    await doom();
    await lane.openai.post("/notifications/read");
    const { unread_count } = await lane.openai.get<{ unread_count: number }>("/notifications");
    return unread_count;
  },
  "a notification channel is created": async (lane, doom) => {
    const before = await lane.count("tunebase.notification_channels");
    await doom();
    const { id } = await lane.openai.post<Channel>("/notification_channels", slack(lane));
    assertEquals(await lane.count("tunebase.notification_channels"), before + 1, "one channel");
    await lane.openai.delete(`/notification_channels/${id}`);
    return 1;
  },
  "a notification channel is changed": async (lane, doom) => {
    const { id } = await lane.openai.post<Channel>("/notification_channels", slack(lane));
    await doom();
    const { enabled } = await lane.openai.post<Channel>(`/notification_channels/${id}`, {
      body: { enabled: false },
    });
    await lane.openai.delete(`/notification_channels/${id}`);
    return enabled;
  },
  "a notification channel is deleted": async (lane, doom) => {
    const { id } = await lane.openai.post<Channel>("/notification_channels", slack(lane));
    await doom();
    await done(lane.openai.delete(`/notification_channels/${id}`), 404);
    return await lane.count(`tunebase.notification_channels where id = '${uuid(id)}'`);
  },
};

export const subscriberScheduler: Record<string, Run> = {
  "a webhook is delivered": withEndpoint(async (lane, doom, endpoint) => {
    const { worker } = await lane.running();
    await worker.finishWhole();
    await doom();
    await lane.tick();
    // What was sent and not recorded is sent again when its lease is over, under the same id.
    await lane.elapse(61);
    await lane.tick();
    return [new Set(came(lane, endpoint)).size, (await row(lane, endpoint)).status];
  }),
};
