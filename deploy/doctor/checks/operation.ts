/** Operation: stuck jobs, failing receivers, alerts. */
import * as z from "zod";
import { pluralize } from "../../../cli/terminal/format.ts";
import { type Check, type CheckGroup, duration, failed, ok, warning } from "../check.ts";
import type { SupabaseReader } from "../installation.ts";

const maxAlerts = 10;
/** A queue can be long, but a job that has waited for an hour is worth a warning. */
const longWaitSeconds = 3600;

export const operationChecks: CheckGroup = {
  id: "operation",
  async run({ supabase }) {
    const checks = await Promise.all([
      checkQueue(supabase),
      checkRuns(supabase),
      checkReceivers(supabase),
      checkTriggers(supabase),
      checkAlerts(supabase),
    ]);
    return checks.flat();
  },
};

async function checkQueue(supabase: SupabaseReader): Promise<Check> {
  const [queue] = await supabase.query(
    `select count(*) as jobs, coalesce(extract(epoch from now() - min(queued_at)), 0) as seconds,
      (array_agg(status_reason order by queued_at) filter (where status_reason is not null))[1] as reason
    from tunebase.jobs where tunebase_internal.is_open(status) and status = 'queued'`,
    z.array(z.object({
      jobs: z.coerce.number(),
      seconds: z.coerce.number(),
      reason: z.string().nullable(),
    })),
  );
  const { jobs = 0, seconds = 0, reason = null } = queue ?? {};
  if (jobs === 0) return ok("queue", "empty");
  const found = `${pluralize(jobs, "job")}, the oldest for ${duration(seconds)}`;
  return seconds < longWaitSeconds ? ok("queue", found) : warning(
    "queue",
    reason === null ? found : `${found}: ${reason}`,
    'See docs/operations.md, "Waiting jobs".',
  );
}

/** Runs that the scheduler should have checked by now, or whose submission was never resolved. */
async function checkRuns(supabase: SupabaseReader): Promise<Check> {
  const rows = await supabase.query(
    `select 'ftjob-' || replace(job_id::text, '-', '') as job,
      case when state in ('submitting', 'submission_unknown') then 'its submission to RunPod is unresolved'
        when state = 'running' and missed_heartbeats > 0 then 'its worker sends no heartbeat'
        else 'it was not checked in time' end as problem
    from tunebase.attempts
    where state <> 'ended' and (
      (state in ('submitting', 'submission_unknown') and created_at < now() - interval '2 minutes')
      or (state = 'running' and missed_heartbeats > 8)
      or reconcile_at < now() - interval '5 minutes'
    )
    order by created_at limit 5`,
    z.array(z.object({ job: z.string(), problem: z.string() })),
  );
  return rows.length === 0 ? ok("runs", "none is stuck") : warning(
    "runs",
    rows.map(({ job, problem }) => `${job}: ${problem}`).join("; "),
    'Each ends or resumes at its deadline if the scheduler runs. See docs/operations.md, "Waiting jobs".',
  );
}

async function checkReceivers(supabase: SupabaseReader): Promise<Check> {
  const rows = await supabase.query(
    `select coalesce(e.name, c.kind || ' channel') as name, p.name as project,
      extract(epoch from now() - f.failing_since) as seconds
    from tunebase_internal.failing_subscribers f
    left join tunebase.webhook_endpoints e on e.id = f.target_id
    left join tunebase.notification_channels c on c.id = f.target_id
    join tunebase.projects p on p.id = coalesce(e.project_id, c.project_id)
    order by f.failing_since limit 5`,
    z.array(z.object({ name: z.string(), project: z.string(), seconds: z.coerce.number() })),
  );
  return rows.length === 0 ? ok("receivers", "none is failing") : warning(
    "receivers",
    rows.map(({ name, project, seconds }) => `${name} of ${project} for ${duration(seconds)}`).join("; "),
    "Ask the project's owner to check the receiver. Tunebase disables it after five days of failures.",
  );
}

async function checkTriggers(supabase: SupabaseReader): Promise<Check> {
  const [row] = await supabase.query(
    `select count(*) as failures, max(error) as error from tunebase_internal.trigger_failures
    where type is not null and repaired_at is null`,
    z.array(z.object({ failures: z.coerce.number(), error: z.string().nullable() })),
  );
  const { failures = 0, error = null } = row ?? {};
  return failures === 0 ? ok("events", "all are written") : warning(
    "events",
    `${pluralize(failures, "event was", "events were")} not written: ${error}`,
    "The scheduler retries them. If the number grows, report the error as a bug.",
  );
}

async function checkAlerts(supabase: SupabaseReader): Promise<Check[]> {
  const rows = await supabase.query(
    `select kind, subject, message, occurrences, extract(epoch from now() - last_at) as seconds
    from tunebase_internal.alerts order by last_at desc limit ${maxAlerts}`,
    z.array(z.object({
      kind: z.string(),
      subject: z.string(),
      message: z.string(),
      occurrences: z.coerce.number(),
      seconds: z.coerce.number(),
    })),
  );
  if (rows.length === 0) return [ok("alerts", "none")];
  return rows.map(({ kind, subject, message, occurrences, seconds }) =>
    (kind === "run_refused" ? failed : warning)(
      "alerts",
      `${kind} (${subject}), ${pluralize(occurrences, "time")}, last ${duration(seconds)} ago: ${message}`,
      'See docs/operations.md, "Alerts": what to check, and how to resolve it.',
    )
  );
}
