/** Progress of an upload, a download or a local check, in bytes. */
import { formatBytes, formatDuration } from "./format.ts";
import { printNote } from "./output.ts";
import { renderBlocks } from "./progress_bar.ts";
import { StatusLine } from "./status_line.ts";

const logIntervalMs = 10_000;

/** A bar in a terminal; otherwise one line every ten seconds. */
export class TransferProgress {
  readonly #status = new StatusLine();
  readonly #startedAt = performance.now();
  #loggedAt = performance.now();
  #resumedFrom: number | null = null;

  constructor(readonly label: string, readonly total: number) {}

  update(done: number): void {
    this.#resumedFrom ??= done;
    const seconds = (performance.now() - this.#startedAt) / 1000;
    const rate = (done - this.#resumedFrom) / Math.max(0.001, seconds);
    const percent = this.total === 0 ? 100 : done / this.total * 100;
    const details = [
      `${formatBytes(done)} of ${formatBytes(this.total)}`,
      ...(seconds > 1 && rate > 0
        ? [`${formatBytes(rate)}/s`, `${formatDuration((this.total - done) / rate)} left`]
        : []),
    ].join("  ");
    const number = `${String(Math.floor(percent)).padStart(3)}%`;
    if (this.#status.isLive) {
      const width = Math.max(4, Math.min(30, this.#status.width - this.label.length - details.length - 9));
      this.#status.show(
        `${number} ${renderBlocks(percent, width)}  ${this.label}  ${details}`.slice(0, this.#status.width),
      );
    } else if (performance.now() - this.#loggedAt >= logIntervalMs) {
      this.#loggedAt = performance.now();
      printNote(`${number}  ${this.label}  ${details}`);
    }
  }

  end(): void {
    this.#status.show(null);
  }
}
