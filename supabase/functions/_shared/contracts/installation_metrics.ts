/**
 * The metrics of GET /metrics. The SQL function `get_installation_metrics` computes them; `docs/monitoring.md` lists them.
 * Names and units follow Prometheus's conventions.
 */
import { attemptOutcomes, type jobStatuses } from "./statuses.ts";
import { trainerErrorCodes } from "./trainer_errors.ts";

type JobStatus = typeof jobStatuses[number];

export interface InstallationMetric {
  type: "counter" | "gauge";
  help: string;
  labels?: readonly string[];
  /**
   * Label values that are always exported (for each combination of the other labels), as 0 if nothing happened:
   * `increase()` ignores the first sample of a series, so a counter that appears with its first failure would hide it.
   */
  always?: Record<string, readonly string[]>;
}

/** Failure codes that the scheduler sets itself. */
const schedulerCodes = [
  "configuration",
  "invalid_file",
  "no_capacity",
  "preempted",
  "spend_cap",
  "time_limit",
];
/** `worker_lost`: no heartbeat. */
const failureCodes = [...trainerErrorCodes, ...schedulerCodes, "worker_lost"];
const unfinished = ["validating_files", "queued", "running", "paused"] satisfies JobStatus[];
const finished = ["succeeded", "failed", "cancelled"] satisfies JobStatus[];

export const installationMetrics = {
  tunebase_build_info: {
    type: "gauge",
    help: "Always 1; the label is the version of the API",
    labels: ["version"],
  },
  tunebase_jobs: {
    type: "gauge",
    help: "Unfinished jobs",
    labels: ["status", "base_model"],
    always: { status: unfinished },
  },
  tunebase_queue_oldest_wait_seconds: {
    type: "gauge",
    help: "How long the oldest queued job has been waiting",
    labels: ["base_model"],
  },
  tunebase_jobs_finished_total: {
    type: "counter",
    help: "Finished jobs",
    labels: ["status"],
    always: { status: finished },
  },
  tunebase_jobs_failed_total: {
    type: "counter",
    help: "Failed jobs by error code",
    labels: ["code"],
    always: { code: failureCodes },
  },
  tunebase_trained_tokens_total: { type: "counter", help: "Trained tokens of finished jobs" },
  tunebase_attempts: {
    type: "gauge",
    help: "Unfinished runs on RunPod",
    labels: ["state", "endpoint"],
  },
  tunebase_attempts_ended_total: {
    type: "counter",
    help: "Ended runs",
    labels: ["outcome"],
    always: { outcome: attemptOutcomes },
  },
  tunebase_heartbeat_age_seconds: {
    type: "gauge",
    help: "Longest time since the last report of a running worker",
  },
  tunebase_gpu_seconds_total: { type: "counter", help: "GPU time of training runs", labels: ["gpu_type"] },
  tunebase_month_spend_usd: {
    type: "gauge",
    help: "Spending since the start of the month (UTC), as spend caps count it",
    labels: ["kind"],
    always: { kind: ["training", "inference"] },
  },
  tunebase_inference_requests_total: { type: "counter", help: "Finished inference requests" },
  tunebase_inference_failures_total: {
    type: "counter",
    help: "Failed inference requests by error code",
    labels: ["code"],
    always: { code: ["inference_unavailable", "inference_timeout", "model_loading", "abandoned"] },
  },
  tunebase_inference_tokens_total: {
    type: "counter",
    help: "Tokens of inference requests",
    labels: ["kind"],
    always: { kind: ["prompt", "completion"] },
  },
  tunebase_inference_seconds_total: {
    type: "counter",
    help: "Time that the inference engine spent on requests",
  },
  tunebase_inference_duration_seconds: {
    type: "gauge",
    help: "Engine time per successful request, over the last 10 minutes",
    labels: ["quantile"],
  },
  tunebase_inference_first_token_seconds: {
    type: "gauge",
    help: "Time to the first token of streamed requests, over the last 10 minutes",
    labels: ["quantile"],
  },
  tunebase_inference_open_requests: { type: "gauge", help: "Inference requests in progress" },
  tunebase_evaluations_running: { type: "gauge", help: "Evaluations in progress" },
  tunebase_evaluation_answers_pending: {
    type: "gauge",
    help: "Answers that running evaluations still need",
  },
  tunebase_file_validations: { type: "gauge", help: "Files that wait for validation or are being validated" },
  tunebase_outbox_events: { type: "gauge", help: "Events that are not yet queued for their receivers" },
  tunebase_deliveries_pending: {
    type: "gauge",
    help: "Webhook and notification deliveries that are due or will be retried",
  },
  tunebase_delivery_delay_seconds: { type: "gauge", help: "How long the oldest due delivery is overdue" },
  tunebase_deliveries_dead: {
    type: "gauge",
    help: "Deliveries that failed permanently in the last 30 days",
  },
  tunebase_receivers_failing: {
    type: "gauge",
    help: "Webhook endpoints and channels whose last delivery failed",
  },
  tunebase_alerts: { type: "gauge", help: "Open alerts", labels: ["kind"] },
  tunebase_trigger_failures: {
    type: "gauge",
    help: "Events that a trigger failed to write, not yet repaired",
  },
  tunebase_orphaned_objects: { type: "gauge", help: "Storage objects that wait for deletion" },
  tunebase_scheduler_ticks_total: { type: "counter", help: "Finished scheduler ticks" },
  tunebase_scheduler_tick_seconds_total: { type: "counter", help: "Duration of finished scheduler ticks" },
  tunebase_scheduler_last_tick_timestamp_seconds: {
    type: "gauge",
    help: "When the scheduler last finished a tick",
  },
} as const satisfies Record<string, InstallationMetric>;

export type InstallationMetricName = keyof typeof installationMetrics;

const isName = (name: string): name is InstallationMetricName => name in installationMetrics;
export const installationMetricNames: InstallationMetricName[] = Object.keys(installationMetrics).filter(
  isName,
);
export const installationMetric = (name: InstallationMetricName): InstallationMetric =>
  installationMetrics[name];

/** The purpose of the secret that GET /metrics requires (`deriveSecret`). */
export const metricsSecretPurpose = "metrics";
