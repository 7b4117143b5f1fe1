/** A job's settings as names and texts. */
import {
  apiFields,
  apiName,
  field,
} from "../../../../supabase/functions/_shared/contracts/hyperparameters.ts";
import { formatNumber, humanize } from "../../lib/format.ts";
import type { Job } from "../../lib/types.ts";

const labels = new Map(apiFields.map((name) => [apiName(name), field(name).label]));

/** The hyperparameters, as the run used them. */
export const hyperparametersOf = (job: Job): [string, string][] =>
  Object.entries(job.hyperparameters).map(([name, value]) => [
    labels.get(name) ?? humanize(name),
    typeof value === "number" ? formatNumber(value) : String(value),
  ]);

export const methodOf = ({ method }: Job): string =>
  method.type === "dpo" ? "Preference optimization (DPO)" : "Supervised";
