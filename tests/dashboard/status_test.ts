/** The status of the service and the project, in the API and in a real Chromium. */
import { assert, assertEquals, assertStringIncludes } from "#assert";
import { createJob, latestAttempt, trainedJob } from "../support/fake_worker.ts";
import { accessible } from "./axe.ts";
import { fits, shoot, tunebase, visit } from "./shared.ts";

const { sql } = tunebase;

Deno.test("the status page shows the scheduler, waiting jobs, failing receivers and the project's own alerts", async () => {
  const [user, other] = [await tunebase.user(), await tunebase.user()];
  const trained = await trainedJob(tunebase, user);
  const endpoint = await user.openai.webhooks.create({
    name: "production",
    url: `${tunebase.url}/nowhere`,
    event_types: ["fine_tuning.job.succeeded"],
  });
  const attempt = (await latestAttempt(tunebase, trained)).id;
  await sql`insert into tunebase_internal.alerts (kind, subject, message) values
    ('cancel_ignored_by_runpod', ${attempt}, 'for the operator'), ('run_refused', 'endpoint', 'for the operator')`;
  await sql`insert into tunebase_internal.failing_subscribers
    select id, now() - interval '3 hours', now() from tunebase.webhook_endpoints where project_id = ${user.projectId}`;
  const queued = await createJob(user);
  await sql`update tunebase.jobs set queued_at = now() - interval '10 minutes'
    where project_id = ${user.projectId} and status = 'queued'`;

  const status = async ({ fetch }: typeof user) => await (await fetch("/status", asUser)).json();
  const asUser = { headers: { authorization: `Bearer ${user.accessToken}` } };
  const found = await status(user);
  assertEquals(found.scheduler.status, "ok");
  assertEquals([found.jobs.queued, found.jobs.running, found.jobs.oldest_queued.id], [1, 0, queued.id]);
  assertEquals(found.failing_receivers.map(({ id }: { id: string }) => id), [endpoint.id]);
  assertEquals(found.alerts.map(({ job }: { job: string }) => job), [trained.id]);
  assert(!JSON.stringify(found).includes("for the operator"));
  asUser.headers.authorization = `Bearer ${other.accessToken}`;
  const others = await status(other);
  assertEquals([others.jobs.queued, others.failing_receivers, others.alerts], [0, [], []]);

  await using visitor = await visit({ user, path: "status" });
  const { page } = visitor;
  const service = page.getByRole("region", { name: "Service" });
  const healthy = service.getByText("ok", { exact: true });
  await healthy.nth(3).waitFor(); // the service's checks are requests of their own
  assertEquals(await healthy.count(), 4);
  await page.getByText("Longest-waiting job").waitFor();
  assertStringIncludes(await page.getByRole("region", { name: "Jobs" }).innerText(), "10 min");
  await page.getByRole("row", { name: "production" }).getByText("failing").waitFor();
  await page.getByText("RunPod is still running this job").waitFor();
  await page.getByText("task doctor").waitFor();
  await accessible(page, "the status");
  await page.setViewportSize({ width: 390, height: 800 });
  await fits(page, "the status");
  await page.setViewportSize(visitor.size);
  await sql`update tunebase_internal.scheduler_ticks set last_tick_at = now() - interval '5 minutes'`;
  await page.reload();
  await service.getByText("The scheduler has not run for").waitFor();
  await accessible(page, "the status with a late scheduler");
  await shoot(page, "status");
  await tunebase.tick();
  await sql`delete from tunebase_internal.alerts`;
  visitor.clean();
});
