/**
 * The baseline of the bench `callbacks_vs_multi_statement`, not part of Tunebase: the callback's report with its SQL in
 * TypeScript, as usually written. Signature and validation are the real ones. One transaction of five statements, the
 * fewest that do what `tunebase_internal.record_progress` does for metrics; it handles no log lines or checkpoints. Its
 * statements are prepared, so each is one round trip; so are begin and commit.
 */
import { Hono } from "hono";
import postgres from "postgres";
import { platform } from "../supabase/functions/_shared/platform.ts";
import { ReportRequest } from "../supabase/functions/_shared/protocol.ts";
import { installBaseMiddleware } from "../supabase/functions/_shared/http.ts";
import { parseOrThrow } from "../supabase/functions/_shared/validation.ts";
import type { CallbackEnv } from "../supabase/functions/tunebase-callback/context.ts";
import { verifySignature } from "../supabase/functions/tunebase-callback/signature.ts";

const url = "TUNEBASE_CALLBACK_DB_URL";
const shared = platform(url);
const sql = postgres(Deno.env.get(url) ?? "", { max: 4, onnotice: () => {} });

const app = new Hono<CallbackEnv>().basePath("/tunebase-callback");
installBaseMiddleware(app, "tunebase-callback", shared);
app.use("*", async (c, next) => {
  c.set("platform", shared);
  await next();
});
app.use("/attempts/:id/*", verifySignature);
app.post("/attempts/:id/report", async (c) => {
  const request = parseOrThrow(ReportRequest, c.get("body"));
  return c.json(await report(c.get("attemptId"), request, shared.settings.leaseSeconds));
});
Deno.serve(app.fetch);

function report(attemptId: string, request: ReportRequest, leaseSeconds: number) {
  const last = request.metrics.at(-1);
  return sql.begin(async (sql) => {
    const [attempt] = await sql`
      select a.job_id, a.project_id, a.number, a.state, a.fence, a.worker_id, a.last_sequence, a.cancel_requested,
        j.status, j.pause_requested
      from tunebase.attempts a join tunebase.jobs j on j.id = a.job_id
      where a.id = ${attemptId} for update of j, a`;
    if (
      attempt === undefined || attempt.state !== "running" || attempt.fence !== request.fence ||
      attempt.worker_id !== request.worker_id || request.sequence <= attempt.last_sequence
    ) return { directive: "stop", lease_until: null };
    const directive =
      attempt.cancel_requested || ["succeeded", "failed", "cancelled"].includes(attempt.status)
        ? "cancel"
        : attempt.pause_requested
        ? "pause"
        : "continue";
    const [lease] = await sql`
      update tunebase.attempts
      set last_sequence = ${request.sequence}, last_report_at = now(), missed_heartbeats = 0,
        lease_until = now() + make_interval(secs => ${leaseSeconds}),
        reconcile_at = least(reconcile_at, now() + make_interval(secs => ${leaseSeconds})),
        cost_usd = greatest(cost_usd, round((extract(epoch from now() - started_at) / 3600
          * (gpu_config ->> 'cost_per_gpu_hour')::numeric * (gpu_config ->> 'num_gpus')::numeric)::numeric, 6))
      where id = ${attemptId}
      returning floor(extract(epoch from lease_until))::integer as until`;
    const [job] = await sql`
      update tunebase.jobs
      set stage = ${request.stage}, progress = greatest(progress, least(${request.progress}::real, 99)),
        current_epoch = ${request.current_epoch}, total_epochs = coalesce(${request.total_epochs}, total_epochs),
        current_step = ${request.current_step}, total_steps = coalesce(${request.total_steps}, total_steps),
        trained_tokens = greatest(trained_tokens, ${request.trained_tokens}::bigint),
        tokens_per_second = coalesce(${last?.tokens_per_second ?? null}, tokens_per_second),
        training_loss = coalesce(${last?.training_loss ?? null}, training_loss),
        estimated_finish = now() + make_interval(secs => ${request.seconds_left}),
        cost_usd = (select sum(a.cost_usd) from tunebase.attempts a where a.job_id = ${attempt.job_id}),
        last_event = last_event + ${request.metrics.length}
      where id = ${attempt.job_id}
      returning last_event, total_steps, progress`;
    if (job === undefined) throw new Error("the job no longer exists");
    const metrics = request.metrics.map((metric) => ({
      job_id: attempt.job_id,
      project_id: attempt.project_id,
      attempt: attempt.number,
      ...metric,
    }));
    await sql`
      insert into tunebase.metrics ${sql(metrics)}
      on conflict (job_id, step) do update
      set attempt = excluded.attempt, epoch = excluded.epoch, training_loss = excluded.training_loss,
        validation_loss = excluded.validation_loss, learning_rate = excluded.learning_rate,
        gradient_norm = excluded.gradient_norm, tokens_per_second = excluded.tokens_per_second,
        gpu_utilization = excluded.gpu_utilization, gpu_memory_gb = excluded.gpu_memory_gb, created_at = now()
      where metrics.attempt < excluded.attempt`;
    const events = request.metrics.map((metric, i) => ({
      job_id: attempt.job_id,
      project_id: attempt.project_id,
      number: job.last_event - request.metrics.length + 1 + i,
      level: "info",
      type: "metrics",
      message: `Step ${metric.step}/${job.total_steps}: training loss=${metric.training_loss?.toFixed(4)}`,
      data: { ...metric, attempt: attempt.number, total_steps: job.total_steps, progress: job.progress },
    }));
    await sql`insert into tunebase.events ${sql(events)}`;
    return { directive, lease_until: lease?.until ?? null };
  });
}
