/** The API's objects under short names. */
import type { Schemas } from "../../../client/mod.ts";

export type Job = Schemas["FineTuningJob"];
export type JobEvent = Schemas["FineTuningJobEvent"];
export type MetricsPoint = Schemas["MetricsPoint"];
export type ApiFile = Schemas["File"];
export type DatasetReport = NonNullable<ApiFile["report"]>;
export type DatasetIssue = DatasetReport["warnings"][number];
export type DownloadFile = Schemas["DownloadFile"];
export type BaseModel = Schemas["BaseModel"];
export type FineTunedModel = Schemas["FineTunedModel"];
export type Evaluation = Schemas["Evaluation"];
export type EvaluationRow = Schemas["EvaluationRow"];
export type StoredCompletion = Schemas["StoredCompletion"];

/** Code for one language or tool. */
export interface Snippet {
  label: string;
  text: string;
}
