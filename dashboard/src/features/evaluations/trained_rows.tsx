/** Warns if a fine-tuned model is evaluated with rows that it was trained on. */
import { useQuery } from "@tanstack/preact-query";
import { formatCount } from "../../lib/format.ts";
import { useOverlap } from "../files/overlap.tsx";
import { fetchJob, jobKey } from "../jobs/job_queries.ts";

export function TrainedRows({ jobId, file }: {
  /** The job that trained the model; null for a base model. */
  jobId: string | null;
  /** The validated file with the questions; null while there is none. */
  file: string | null;
}) {
  const job = useQuery({
    queryKey: jobKey(jobId ?? ""),
    enabled: jobId !== null,
    queryFn: () => fetchJob(jobId ?? ""),
  });
  const trainingFile = job.data?.training_file ?? null;
  const isSame = file !== null && file === trainingFile;
  const { data } = useOverlap(isSame ? null : file, trainingFile);
  if (!isSame && (data === undefined || data.rows === 0)) return null;
  return (
    <p class="notice" role="status">
      {isSame || data === undefined
        ? "These are the rows that the model was trained on."
        : `${data.exact ? "" : "About "}${formatCount(data.rows)} of ${
          formatCount(data.distinct_rows)
        } distinct rows were in the model's training data.`}{" "}
      Their scores show how well it has learned them, not how well it generalizes.
    </p>
  );
}
