/**
 * Enumerations that the database's check constraints, the API, the CLI and the dashboard share. Imports nothing, because the
 * dashboard loads it. `tests/database/contracts_test.ts` compares them with the catalog.
 */
export const jobStatuses = [
  "validating_files",
  "queued",
  "running",
  "paused",
  "succeeded",
  "failed",
  "cancelled",
] as const;

/** The stages of a run, in order. */
export const stages = [
  "setup",
  "downloading",
  "preparing",
  "loading_model",
  "configuring",
  "training",
  "evaluating",
  "saving",
  "uploading",
  "completed",
] as const;

/** How an attempt ends. */
export const attemptOutcomes = [
  "not_started",
  "refused",
  "succeeded",
  "failed",
  "preempted",
  "paused",
  "cancelled",
  "lost",
  "expired",
] as const;
/** `uploaded`: validation has not finished. */
export const fileStatuses = ["uploaded", "processed", "error"] as const;
export const filePurposes = ["fine-tune", "fine-tune-results"] as const;
export const uploadStatuses = ["pending", "completed", "cancelled", "expired"] as const;
export const evaluationStatuses = ["running", "succeeded", "failed", "cancelled"] as const;
export const deliveryStatuses = ["pending", "delivered", "dead"] as const;
export const projectStatuses = ["active", "archived"] as const;
export const roles = ["owner", "developer", "viewer"] as const;
export const logLevels = ["info", "warn", "error"] as const;
/** A line of the job's log, or a logged step. */
export const jobEventTypes = ["message", "metrics"] as const;
