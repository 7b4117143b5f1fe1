/** The progress bar as text: what is known of a run, in one line that fits the terminal. */

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
  tokensPerSecond: number | null;
  secondsLeft: number | null;
}

/** One line of at most `width` characters. Values that are not known yet are left out. */
export function renderBar(progress: Progress, width: number): string {
  const percent = `${String(Math.floor(progress.percent)).padStart(3)} %`;
  const facts = [
    (progress.stage ?? progress.status).replaceAll("_", " "),
    progress.epochs !== null && progress.step > 0
      ? `epoch ${progress.epoch.toFixed(1)}/${progress.epochs}`
      : null,
    progress.steps !== null ? `step ${progress.step}/${progress.steps}` : null,
    progress.loss !== null ? `loss ${progress.loss.toFixed(3)}` : null,
    progress.tokensPerSecond !== null ? `${Math.round(progress.tokensPerSecond)} tokens/s` : null,
    progress.secondsLeft !== null ? `${duration(progress.secondsLeft)} left` : null,
  ].filter((fact) => fact !== null);
  // The least important facts go first where the terminal is narrow: they stand last.
  while (facts.length > 1 && percent.length + facts.join("  ").length + 16 > width) facts.pop();
  const text = facts.join("  ");
  const room = Math.max(4, Math.min(30, width - percent.length - text.length - 5));
  const full = Math.round(room * Math.min(100, Math.max(0, progress.percent)) / 100);
  return `${percent} ${"█".repeat(full)}${"░".repeat(room - full)}  ${text}`.slice(0, width);
}

/** "45 s", "3:07 min", "2:15 h". */
export function duration(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  const two = (value: number) => String(Math.floor(value)).padStart(2, "0");
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)}:${two(whole % 60)} min`;
  return `${Math.floor(whole / 3600)}:${two(whole % 3600 / 60)} h`;
}
