/** Checks that each job ended for a reason that the simulation observed. */
import type { Job } from "./model.ts";
import type { Environment } from "./environment.ts";

/** Checks the jobs that have ended since the last call. */
export async function checkTerminalJobs(env: Environment): Promise<void> {
  const open = [...env.jobs.values()].filter(({ checked }) => !checked).map(({ id }) => id);
  const rows = await env.sql`
    select j.id, j.status, j.error_code, j.failed_attempts, j.max_attempts,
      -- The rest pays for less than half a minute of GPU time, which is too little to dispatch.
      j.cost_usd + 3.6 / 120 > j.spend_cap_usd as over_cap,
      (select sum(a.cost_usd) from tunebase.attempts a where a.project_id = j.project_id) + 3.6 / 120 > p.spend_cap_usd
        as project_over,
      exists (select from tunebase.attempts a where a.job_id = j.id and a.outcome in ('expired', 'not_started')) as waited
    from tunebase.jobs j join tunebase.projects p on p.id = j.project_id
    where j.id = any (${open}::uuid[]) and tunebase_internal.is_terminal(j.status)`;
  for (const row of rows) {
    const job = env.jobs.get(row.id);
    if (job === undefined) continue;
    job.checked = true;
    const wrong = unexplainedEnd(job, row);
    if (wrong !== null) {
      env.reportProblem(`wrong_terminal: job ${job.id} is ${row.status} (${row.error_code}), but ${wrong}`);
    }
  }
}

const retryableCodes = [
  "worker_lost",
  "preempted",
  "dataset_unreachable",
  "disk_full",
  "callback_unreachable",
  "upload_failed",
  "trainer_killed",
  "internal_error",
];

function unexplainedEnd(job: Job, row: Record<string, unknown>): string | null {
  const code = String(row.error_code);
  if (row.status === "cancelled") {
    return job.cancelled || job.reasons.has("CANCELLED") ? null : "it was never cancelled";
  }
  // A cancellation is final, even if something else happens in the same command.
  if (job.cancelled) return "it had been cancelled";
  if (row.status === "succeeded") return null; // checkAdapters checks its files
  if (code === "spend_cap") {
    // A cap also shortens the run's execution timeout, which RunPod reports.
    return row.over_cap || row.project_over || job.reasons.has("TIMED_OUT") ? null : "no cap was reached";
  }
  if (code === "no_capacity") return row.waited ? null : "none of its attempts waited for capacity";
  if (code === "time_limit") {
    return job.reasons.has("TIMED_OUT") ? null : "RunPod never reported TIMED_OUT";
  }
  if (retryableCodes.includes(code)) {
    return Number(row.failed_attempts) >= Number(row.max_attempts)
      ? null
      : `it had attempts left (${row.failed_attempts} of ${row.max_attempts})`;
  }
  return job.reasons.has(code) ? null : "nothing reported this code";
}
