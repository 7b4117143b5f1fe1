/** Formats a job's evaluation. */
import { scoreRows } from "../../supabase/functions/_shared/contracts/evaluation.ts";
import type { Job } from "./job_events.ts";

/** One score per line: "exact match 10% → 45%", base and fine-tuned model. */
export const evaluationLines = (evaluation: NonNullable<Job["evaluation"]>): string[] =>
  scoreRows(evaluation).map(({ label, base, tuned }) =>
    `${label.charAt(0).toLowerCase()}${label.slice(1)} ${base} → ${tuned}`
  );
