/** A run's progress as one line of text that fits the terminal. The demo uses it too. */
import { formatDuration, formatUsd, humanize } from "./format.ts";

export interface Progress {
  status: string;
  stage: string | null;
  /** 0 to 100. */
  percent: number;
  epoch: number;
  epochs: number | null;
  step: number;
  steps: number | null;
  loss: number | null;
  /** The losses so far, for the sparkline after the current one. */
  losses?: number[];
  tokensPerSecond: number | null;
  secondsLeft: number | null;
  costUsd?: number | null;
}

/** One line of at most `width` characters. Omits unknown values. */
export function renderBar(progress: Progress, width: number): string {
  const percent = `${String(Math.floor(progress.percent)).padStart(3)}%`;
  // Padded to its full width from the start, so that the text after it does not move.
  const line = sparkline(progress.losses ?? [], 12).padEnd(progress.losses ? 12 : 0);
  const details = [
    humanize(progress.stage ?? progress.status),
    progress.epochs !== null && progress.step > 0
      ? `epoch ${progress.epoch.toFixed(1)}/${progress.epochs}`
      : null,
    progress.steps !== null ? `step ${progress.step}/${progress.steps}` : null,
    progress.loss !== null ? `loss ${progress.loss.toFixed(3)}${line === "" ? "" : ` ${line}`}` : null,
    progress.tokensPerSecond !== null ? `${Math.round(progress.tokensPerSecond)} tokens/s` : null,
    progress.secondsLeft !== null && progress.secondsLeft >= 1
      ? `${formatDuration(progress.secondsLeft)} left`
      : null,
    progress.costUsd ? formatUsd(progress.costUsd) : null,
  ].filter((detail) => detail !== null);
  // Ordered by importance: a narrow terminal drops the last ones.
  while (
    details.length > 1 && percent.length + details.join("  ").length + 16 > width
  ) details.pop();
  const text = details.join("  ");
  const barWidth = Math.max(4, Math.min(30, width - percent.length - text.length - 5));
  return `${percent} ${renderBlocks(progress.percent, barWidth)}  ${text}`.slice(0, width);
}

/** A bar of `width` characters. */
export function renderBlocks(percent: number, width: number): string {
  const full = Math.round(width * Math.min(100, Math.max(0, percent)) / 100);
  return "█".repeat(full) + "░".repeat(width - full);
}

/** A sparkline of at most `width` bars, each the mean of its values, scaled from the minimum to the maximum. */
export function sparkline(values: number[], width: number): string {
  if (values.length < 2) return "";
  const points = Math.min(width, values.length);
  const means = Array.from({ length: points }, (_, i) => {
    const share = values.slice(
      Math.floor(i * values.length / points),
      Math.floor((i + 1) * values.length / points),
    );
    return share.reduce((sum, value) => sum + value, 0) / share.length;
  });
  const low = Math.min(...means);
  const range = Math.max(...means) - low || 1;
  return means.map((mean) => "▁▂▃▄▅▆▇█"[Math.round((mean - low) / range * 7)])
    .join("");
}
