/** Whether a job ended as it must have: each end needs a reason that the walk itself has seen. */
import type { Job } from "./model.ts";
import type { World } from "./environment.ts";

/** Judges the jobs that have ended since the last call. */
export async function judge(world: World): Promise<void> {
  const open = [...world.jobs.values()].filter(({ judged }) => !judged).map(({ id }) => id);
  const rows = await world.sql`
    select j.id, j.status, j.error_code, j.failed_attempts, j.max_attempts,
      -- What is left pays for less than half a minute of the GPU: nothing is dispatched for it.
      j.cost_usd + 3.6 / 120 > j.spend_cap_usd as over_cap,
      (select sum(a.cost_usd) from tunebase.attempts a where a.project_id = j.project_id) + 3.6 / 120 > p.spend_cap_usd
        as project_over,
      exists (select from tunebase.attempts a where a.job_id = j.id and a.outcome in ('expired', 'not_started')) as waited
    from tunebase.jobs j join tunebase.projects p on p.id = j.project_id
    where j.id = any (${open}::uuid[]) and tunebase_internal.is_terminal(j.status)`;
  for (const row of rows) {
    const job = world.jobs.get(row.id);
    if (job === undefined) continue;
    job.judged = true;
    const wrong = reasonMissing(job, row);
    if (wrong !== null) {
      world.wrong(`wrong_terminal: job ${job.id} is ${row.status} (${row.error_code}), and ${wrong}`);
    }
  }
}

const triedAgain = [
  "worker_lost",
  "preempted",
  "dataset_unreachable",
  "disk_full",
  "callback_unreachable",
  "upload_failed",
  "trainer_killed",
  "internal_error",
];

function reasonMissing(job: Job, row: Record<string, unknown>): string | null {
  const code = String(row.error_code);
  if (row.status === "cancelled") {
    return job.cancelled || job.reasons.has("CANCELLED") ? null : "nobody has cancelled it";
  }
  // A cancel that is carried out is an end, also when something else comes in the same step.
  if (job.cancelled) return "it was cancelled before";
  if (row.status === "succeeded") return null; // its files are looked at
  if (code === "spend_cap") {
    // A cap also shortens the run's execution timeout, which RunPod reports.
    return row.over_cap || row.project_over || job.reasons.has("TIMED_OUT") ? null : "no cap was reached";
  }
  if (code === "no_capacity") return row.waited ? null : "no attempt of it waited in vain";
  if (code === "time_limit") {
    return job.reasons.has("TIMED_OUT") ? null : "RunPod never said that its time was over";
  }
  if (triedAgain.includes(code)) {
    return Number(row.failed_attempts) >= Number(row.max_attempts)
      ? null
      : `it had tries left (${row.failed_attempts} of ${row.max_attempts})`;
  }
  return job.reasons.has(code) ? null : "nothing has said so";
}
