/** The words that a job's state is told in. Nothing here needs Deno: the command line and the dashboard use them too. */

/** Every status of a job; the database's constraint holds the same. */
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
