/**
 * The closed lists of words that the database's check constraints, the API and the pages share. Nothing here needs zod or
 * Deno: the command line and the dashboard import it too. `tests/database/contracts_test.ts` compares each with the catalog.
 */

/** Every status of a job. */
export const jobStatuses = [
  "validating_files",
  "queued",
  "running",
  "paused",
  "succeeded",
  "failed",
  "cancelled",
] as const;

/** Where in a run the trainer is; the order is that of a run. */
export const stages = [
  "setup",
  "downloading",
  "preparing",
  "loading_model",
  "configuring",
  "training",
  "saving",
  "uploading",
  "completed",
] as const;

/** `uploaded`: its validation has not finished. */
export const fileStatuses = ["uploaded", "processed", "error"] as const;
export const filePurposes = ["fine-tune", "fine-tune-results"] as const;
export const uploadStatuses = ["pending", "completed", "cancelled", "expired"] as const;
export const deliveryStatuses = ["pending", "delivered", "dead"] as const;
export const projectStatuses = ["active", "archived"] as const;
export const roles = ["owner", "developer", "viewer"] as const;
export const logLevels = ["info", "warn", "error"] as const;
/** Of a job's events: a line of its log, or a logged step. */
export const jobEventTypes = ["message", "metrics"] as const;
