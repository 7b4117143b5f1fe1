/** Queries and predicates for jobs. */
import { unwrap } from "../../../../client/mod.ts";
import { getServices } from "../../lib/services.ts";
import type { Job } from "../../lib/types.ts";

const activeStatuses: Job["status"][] = [
  "validating_files",
  "queued",
  "running",
];
const finalStatuses: Job["status"][] = ["succeeded", "failed", "cancelled"];

/** Whether the job makes progress without the user. */
export const isActive = (job: Job): boolean => activeStatuses.includes(job.status);
export const isFinal = (status: Job["status"]): boolean => finalStatuses.includes(status);

export const jobKey = (id: string) => ["job", id] as const;
export const fetchJob = async (id: string): Promise<Job> =>
  unwrap(
    await getServices().api.GET("/fine_tuning/jobs/{id}", {
      params: { path: { id } },
    }),
  );
