/** Prints a job's estimate. */
import type { ResponseOf } from "../api/types.ts";
import { formatCount, formatDuration, formatRange, formatUsd, pluralize } from "../terminal/format.ts";
import { printFields, stdoutColors } from "../terminal/output.ts";
import type { JobRequest } from "./job_options.ts";

export type Estimate = ResponseOf<"createEstimate">;

export function printEstimate(estimate: Estimate, request: JobRequest): void {
  const { tokens, rows, steps, time, cost, memory, hyperparameters } = estimate;
  const epochs = Number(hyperparameters.n_epochs);
  printFields([
    ["model", estimate.model],
    ["training", request.training_file],
    ["validation", request.validation_file],
    [
      "rows",
      [
        formatRange(rows.total, formatCount),
        rows.truncated.high > 0 ? `${formatRange(rows.truncated, formatCount)} truncated` : null,
        rows.skipped.high > 0 ? `${formatRange(rows.skipped, formatCount)} without trainable tokens` : null,
      ].filter(Boolean).join(", "),
    ],
    [
      "tokens",
      `${formatRange(tokens.total, formatCount)} in ${pluralize(epochs, "epoch")} (${tokens.method})`,
    ],
    ["steps", `${formatCount(steps.total)}, ${formatCount(steps.per_epoch)} per epoch`],
    [
      "settings",
      Object.entries(hyperparameters).filter(([name]) => name !== "n_epochs")
        .map(([name, value]) => `${name} ${value}`).join(", "),
    ],
    ["time", time.seconds === null ? time.basis : formatRange(time.seconds, formatDuration)],
    ["cost", cost.usd === null ? cost.basis : stdoutColors.bold(formatRange(cost.usd, formatUsd))],
    [
      "memory",
      memory.required_gb === null
        ? memory.basis
        : `about ${memory.required_gb.expected} GB${
          memory.available_gb === null ? "" : ` of ${memory.available_gb} GB`
        }`,
    ],
  ]);
  for (const warning of estimate.warnings) {
    printFields([["warning", stdoutColors.yellow(warning)]]);
  }
}
