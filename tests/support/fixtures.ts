import { prefixes } from "../../supabase/functions/tunebase/ids.ts";
import type { TestUser, Tunebase } from "./test_server.ts";
import { createJob, FakeWorker, latestAttempt } from "./fake_worker.ts";

/** Creates one of every resource for a user; returns their public ids by the path segment before the id. */
export async function createOneOfEverything(
  tunebase: Tunebase,
  user: TestUser,
): Promise<Record<string, string>> {
  const { sql } = tunebase;
  await sql`update tunebase.api_keys set scopes = tunebase_internal.scopes() where project_id = ${user.projectId}`;
  const endpoint = await user.openai.webhooks.create({
    name: "w",
    url: `${tunebase.url}/nowhere`,
    event_types: ["fine_tuning.job.succeeded"],
  });
  const channel = await (await user.fetch("/notification_channels", {
    method: "POST",
    body: JSON.stringify({ kind: "slack", target: `${tunebase.url}/nowhere` }),
  })).json();
  const job = await createJob(user);
  await tunebase.tick();
  const worker = new FakeWorker(tunebase, (await latestAttempt(tunebase, job)).id);
  await worker.claim();
  await worker.checkpoint(3);
  await worker.finishWithAdapter();
  await tunebase.tick();
  const [delivery] =
    await sql`select id from tunebase.webhook_deliveries where project_id = ${user.projectId} limit 1`;
  const [notification] =
    await sql`select id from tunebase.notifications where project_id = ${user.projectId} limit 1`;
  const [checkpoint] =
    await sql`select id from tunebase.checkpoints where project_id = ${user.projectId} limit 1`;
  const upload = await user.openai.uploads.create({
    bytes: 10,
    filename: "u.jsonl",
    mime_type: "application/jsonl",
    purpose: "fine-tune",
  });
  const direct = await (await user.fetch("/files/direct", {
    method: "POST",
    body: JSON.stringify({ filename: "d.jsonl", bytes: 10, purpose: "fine-tune" }),
  })).json();
  const done = await user.openai.fineTuning.jobs.retrieve(job.id);
  const evaluation = await (await user.fetch("/evaluations", {
    method: "POST",
    body: JSON.stringify({ models: [done.fine_tuned_model], file: done.training_file }),
  })).json();
  await sql`update tunebase.projects set store_completions = true where id = ${user.projectId}`;
  const completion = await user.openai.chat.completions.create({
    model: "SmolLM2-135M-Instruct",
    messages: [{ role: "user", content: "hi" }],
    store: true,
  });
  const asUser = { authorization: `Bearer ${user.accessToken}` };
  const project = publicId("proj_", user.projectId);
  const invitation = await (await user.fetch(`/projects/${project}/members`, {
    method: "POST",
    headers: asUser,
    body: JSON.stringify({ email: "guest@elsewhere.example", role: "viewer" }),
  })).json();
  const key = await (await user.fetch("/api_keys", {
    method: "POST",
    headers: asUser,
    body: JSON.stringify({ name: "k" }),
  })).json();
  return {
    files: done.training_file,
    jobs: done.id,
    models: done.fine_tuned_model ?? "",
    completions: completion.id,
    projects: project,
    members: publicId("user-", user.id),
    invitations: invitation.id,
    api_keys: key.id,
    uploads: upload.id,
    direct: direct.id,
    overlap: done.training_file,
    checkpoints: publicId(prefixes.checkpoint, checkpoint?.id),
    evaluations: evaluation.id,
    webhook_endpoints: endpoint.id,
    webhook_deliveries: publicId(prefixes.webhookDelivery, delivery?.id),
    notifications: publicId(prefixes.notification, notification?.id),
    notification_channels: channel.id,
  };
}
const publicId = (prefix: string, uuid: string) => prefix + uuid.replaceAll("-", "");
