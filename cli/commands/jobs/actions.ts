/** `jobs cancel`, `pause`, `resume` and `start`. */
import { unwrap } from "../../../client/mod.ts";
import { resolveJob } from "../../api/job_reference.ts";
import { openSession } from "../../api/session.ts";
import type { CommonOptions } from "../../command.ts";
import { print, printJson } from "../../terminal/output.ts";

const actionMessages = {
  cancel: "Cancelled",
  pause: "Pausing",
  resume: "Resumed",
  start: "Started",
} as const;

export type JobAction = keyof typeof actionMessages;

export const runJobAction =
  (action: JobAction) => async (id: string, options: CommonOptions): Promise<void> => {
    const session = await openSession();
    const path = { id: await resolveJob(session, id) };
    const job = unwrap(await session.api.POST(`/fine_tuning/jobs/{id}/${action}`, { params: { path } }));
    if (options.json) return printJson(job);
    if (action === "pause" && job.status !== "paused") {
      print(`${actionMessages.pause} ${job.id} after its next checkpoint.`);
    } else {
      print(`${action === "pause" ? "Paused" : actionMessages[action]} ${job.id}.`);
    }
  };
