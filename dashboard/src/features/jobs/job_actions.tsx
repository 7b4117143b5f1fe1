/** The buttons of a job: start, pause, resume, cancel, run again. */
import { unwrap } from "../../../../client/mod.ts";
import { useApiMutation, usePermission } from "../../lib/queries.ts";
import { href } from "../../lib/router.ts";
import { getServices } from "../../lib/services.ts";
import type { Job } from "../../lib/types.ts";
import { ActionButton } from "../../ui/action_button.tsx";
import { retryQuery } from "../new_job/form.ts";
import { isFinal, jobKey } from "./job_queries.ts";

type JobAction = "cancel" | "pause" | "resume" | "start";

export function JobActions({ job }: { job: Job }) {
  const canEdit = usePermission("jobs:write");
  const cancel = useJobAction(job, "cancel");
  const pause = useJobAction(job, "pause");
  const resume = useJobAction(job, "resume");
  const start = useJobAction(job, "start");
  if (!canEdit) return null;
  if (isFinal(job.status)) {
    return (
      <a class="button" href={href(["new"], retryQuery(job, null))}>
        Run again
      </a>
    );
  }
  const isAwaitingStart = job.status === "paused" && !job.auto_start &&
    job.current_step === null;
  return (
    <>
      {isAwaitingStart && <ActionButton mutation={start} label="Start" primary />}
      {job.status === "paused" && !isAwaitingStart && (
        <ActionButton mutation={resume} label="Resume" primary />
      )}
      {job.status !== "paused" &&
        (job.pause_requested
          ? <ActionButton mutation={resume} label="Keep running" />
          : <ActionButton mutation={pause} label="Pause" />)}
      <ActionButton
        mutation={cancel}
        label="Cancel"
        danger
        confirmation={{
          text: "It stops immediately and cannot be resumed. You pay for the GPU time used so far; " +
            "its checkpoints remain available.",
          confirm: "Cancel job",
          dismiss: "Keep job",
        }}
      />
    </>
  );
}

const useJobAction = (job: Job, action: JobAction) =>
  useApiMutation(
    async () =>
      unwrap(
        await getServices().api.POST(`/fine_tuning/jobs/{id}/${action}`, {
          params: { path: { id: job.id } },
        }),
      ),
    [jobKey(job.id), ["jobs"]],
  );
