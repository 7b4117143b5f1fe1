/** The progress bar as text: what is known of a run, in one line that fits the terminal. The demo shows it too. */

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
  /** The losses so far, for the line that is drawn beside the last one. */
  losses?: number[];
  tokensPerSecond: number | null;
  secondsLeft: number | null;
  costUsd?: number | null;
}

/** One line of at most `width` characters. Values that are not known yet are left out. */
export function renderBar(progress: Progress, width: number): string {
  const percent = `${String(Math.floor(progress.percent)).padStart(3)} %`;
  // As wide from the first: what stands beside it shall not move.
  const line = sparkline(progress.losses ?? [], 12).padEnd(progress.losses ? 12 : 0);
  const facts = [
    (progress.stage ?? progress.status).replaceAll("_", " "),
    progress.epochs !== null && progress.step > 0
      ? `epoch ${progress.epoch.toFixed(1)}/${progress.epochs}`
      : null,
    progress.steps !== null ? `step ${progress.step}/${progress.steps}` : null,
    progress.loss !== null ? `loss ${progress.loss.toFixed(3)}${line === "" ? "" : ` ${line}`}` : null,
    progress.tokensPerSecond !== null ? `${Math.round(progress.tokensPerSecond)} tokens/s` : null,
    progress.secondsLeft !== null && progress.secondsLeft >= 1
      ? `${duration(progress.secondsLeft)} left`
      : null,
    progress.costUsd ? usd(progress.costUsd) : null,
  ].filter((fact) => fact !== null);
  // The least important facts go first where the terminal is narrow: they stand last.
  while (
    facts.length > 1 && percent.length + facts.join("  ").length + 16 > width
  ) facts.pop();
  const text = facts.join("  ");
  const room = Math.max(4, Math.min(30, width - percent.length - text.length - 5));
  return `${percent} ${blocks(progress.percent, room)}  ${text}`.slice(0, width);
}

/** A bar of `room` characters. */
export function blocks(percent: number, room: number): string {
  const full = Math.round(room * Math.min(100, Math.max(0, percent)) / 100);
  return "█".repeat(full) + "░".repeat(room - full);
}

/** The values as a line of at most `width` small bars, each the mean of its share; from the lowest to the highest. */
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

/** "45 s", "3:07 min", "2:15 h". */
export function duration(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  const two = (value: number) => String(Math.floor(value)).padStart(2, "0");
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)}:${two(whole % 60)} min`;
  return `${Math.floor(whole / 3600)}:${two(whole % 3600 / 60)} h`;
}

/** "$3.50"; less than ten cents with four digits: "$0.0123". */
export function usd(amount: number): string {
  return `$${amount.toFixed(amount > 0 && amount < 0.1 ? 4 : 2)}`;
}
