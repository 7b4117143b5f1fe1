/** Scenarios of subscribers: webhook endpoints, deliveries, notifications and their channels. */
import { assertEquals } from "#assert";
import type OpenAI from "openai";
import { uuid } from "../support/subscribers.ts";
import type { CrashHarness } from "./harness.ts";
import { done, type Run } from "./scenario.ts";

/** Runs a scenario with a temporary endpoint. */
const withEndpoint = (
  run: (
    harness: CrashHarness,
    arm: () => Promise<void>,
    endpoint: OpenAI.Webhooks.WebhookEndpoint,
  ) => Promise<unknown>,
): Run =>
async (harness, arm) => {
  const endpoint = await harness.createEndpoint();
  const result = await run(harness, arm, endpoint);
  await done(harness.openai.webhooks.delete(endpoint.id), 404);
  return result;
};

/** How often an endpoint received each event, by webhook-id. */
const came = (harness: CrashHarness, { url }: { url: string }) =>
  harness.receiver.at(new URL(url).pathname).map(({ headers }) => headers["webhook-id"]);

/** A succeeded job whose endpoint has received the event. */
async function message(harness: CrashHarness) {
  const { worker } = await harness.runningJob();
  await worker.finishWithAdapter();
  await harness.tick();
}

const row = async (harness: CrashHarness, { id }: { id: string }) => {
  const [delivery] = await harness.tunebase.sql`
    select id, status, tries from tunebase.webhook_deliveries where endpoint_id = ${uuid(id)}`;
  return { id: String(delivery?.id), status: String(delivery?.status), tries: Number(delivery?.tries) };
};

const slack = (harness: CrashHarness) => ({
  body: { kind: "slack", target: `${harness.receiver.url}/${crypto.randomUUID()}` },
});
type Channel = { id: string; enabled: boolean };

export const subscriberApi: Record<string, Run> = {
  "a webhook endpoint is created": async (harness, arm) => {
    const before = await harness.count("tunebase.webhook_endpoints");
    await arm();
    const endpoint = await harness.openai.webhooks.create(harness.endpointParams());
    assertEquals(await harness.count("tunebase.webhook_endpoints"), before + 1, "one endpoint");
    await harness.openai.webhooks.delete(endpoint.id);
    return endpoint.signing_secret.startsWith("whsec_");
  },
  "a webhook endpoint is changed": withEndpoint(async (harness, arm, { id }) => {
    await arm();
    return (await harness.openai.webhooks.update(id, { name: "others" })).name;
  }),
  "a webhook's secret is rotated": withEndpoint(async (harness, arm, { id }) => {
    await arm();
    await harness.openai.webhooks.rotateSecret(id, { keep_old_secret_active_for_24_hours: true });
    return await harness.count(`tunebase.webhook_endpoints where id = '${uuid(id)}' and secret_version = 2`);
  }),
  "a webhook endpoint is tested": withEndpoint(async (harness, arm, endpoint) => {
    await arm();
    const { status_code } = await harness.openai.webhooks.test(endpoint.id, {
      event_type: "fine_tuning.job.succeeded",
    });
    return status_code;
  }),
  "a webhook endpoint is deleted": async (harness, arm) => {
    const { id } = await harness.createEndpoint();
    await arm();
    await done(harness.openai.webhooks.delete(id), 404);
    return await harness.count(`tunebase.webhook_endpoints where id = '${uuid(id)}'`);
  },
  "a delivery is replayed": withEndpoint(async (harness, arm, endpoint) => {
    await message(harness);
    const { id } = await row(harness, endpoint);
    await arm();
    await harness.openai.post(`/webhook_deliveries/${id}/replay`);
    await harness.tick();
    const ids = came(harness, endpoint);
    return [ids.length, new Set(ids).size, (await row(harness, endpoint)).status];
  }),
  "an endpoint's dead deliveries are replayed": withEndpoint(async (harness, arm, endpoint) => {
    await message(harness);
    await harness.tunebase.sql`
      update tunebase.webhook_deliveries set status = 'dead', next_at = null, delivered_at = null, reason = 'for this test'
      where endpoint_id = ${uuid(endpoint.id)}`;
    await arm();
    await harness.openai.post(`/webhook_endpoints/${endpoint.id}/replay`, { body: { since: 0 } });
    await harness.tick();
    const ids = came(harness, endpoint);
    return [ids.length, new Set(ids).size, (await row(harness, endpoint)).status];
  }),
  "notifications are read": async (harness, arm) => {
    await message(harness);
    await arm();
    await harness.openai.post("/notifications/read");
    const { unread_count } = await harness.openai.get<{ unread_count: number }>("/notifications");
    return unread_count;
  },
  "a notification channel is created": async (harness, arm) => {
    const before = await harness.count("tunebase.notification_channels");
    await arm();
    const { id } = await harness.openai.post<Channel>("/notification_channels", slack(harness));
    assertEquals(await harness.count("tunebase.notification_channels"), before + 1, "one channel");
    await harness.openai.delete(`/notification_channels/${id}`);
    return 1;
  },
  "a notification channel is changed": async (harness, arm) => {
    const { id } = await harness.openai.post<Channel>("/notification_channels", slack(harness));
    await arm();
    const { enabled } = await harness.openai.post<Channel>(`/notification_channels/${id}`, {
      body: { enabled: false },
    });
    await harness.openai.delete(`/notification_channels/${id}`);
    return enabled;
  },
  "a notification channel is deleted": async (harness, arm) => {
    const { id } = await harness.openai.post<Channel>("/notification_channels", slack(harness));
    await arm();
    await done(harness.openai.delete(`/notification_channels/${id}`), 404);
    return await harness.count(`tunebase.notification_channels where id = '${uuid(id)}'`);
  },
};

export const subscriberScheduler: Record<string, Run> = {
  "a webhook is delivered": withEndpoint(async (harness, arm, endpoint) => {
    const { worker } = await harness.runningJob();
    await worker.finishWithAdapter();
    await arm();
    await harness.tick();
    // A delivery that was sent but not recorded is sent again with the same id after its lease.
    await harness.advanceTime(61);
    await harness.tick();
    return [new Set(came(harness, endpoint)).size, (await row(harness, endpoint)).status];
  }),
};
