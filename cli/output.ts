/** What is printed: results on stdout, everything else on stderr. */
import process from "node:process";
import colors from "picocolors";
import { blocks, duration } from "./progress_bar.ts";

/** Colours for what goes to stderr and stdout; none where it is no terminal, or NO_COLOR is set. */
const wanted = (stream: { isTTY?: boolean }) => Boolean(stream.isTTY) && !process.env.NO_COLOR;
export const paint = colors.createColors(wanted(process.stdout));
export const paintErr = colors.createColors(wanted(process.stderr));

/** A line of the result. */
export function print(text = ""): void {
  process.stdout.write(`${text}\n`);
}

/** A line beside the result. */
export function note(text: string): void {
  process.stderr.write(`${text}\n`);
}

/** An object of the API, as it came. `compact`: on one line, for streams. */
export function printJson(value: unknown, compact = false): void {
  print(JSON.stringify(value, null, compact ? undefined : 2));
}

/** Rows in columns; the first is the heading. The last column is not padded. */
export function printTable(rows: string[][]): void {
  const widths: number[] = [];
  for (const row of rows) {
    row.forEach((cell, i) => widths[i] = Math.max(widths[i] ?? 0, cell.length));
  }
  rows.forEach((row, index) => {
    const line = row.map((cell, i) => i === row.length - 1 ? cell : cell.padEnd(widths[i] ?? 0)).join("  ")
      .trimEnd();
    print(index === 0 ? paint.dim(line) : line);
  });
}

/** Names and values, one a line. Values that are null are left out. */
export function printFacts(facts: [string, string | null | undefined][]): void {
  const told = facts.filter((fact): fact is [string, string] =>
    fact[1] !== null && fact[1] !== undefined && fact[1] !== ""
  );
  const width = Math.max(...told.map(([name]) => name.length));
  for (const [name, value] of told) {
    print(`  ${paint.dim(name.padEnd(width))}  ${value}`);
  }
}

/** Unix seconds in the viewer's zone: "2026-11-25 01:54:07". */
export function when(seconds: number): string {
  return new Date(seconds * 1000).toLocaleString("sv-SE");
}

/** "01:54:07". */
export const clock = (seconds: number): string => when(seconds).slice(11);

export function size(bytes: number): string {
  if (bytes < 1000) return `${bytes} B`;
  const units = ["kB", "MB", "GB", "TB"];
  const power = Math.min(units.length, Math.floor(Math.log10(bytes) / 3));
  const value = bytes / 1000 ** power;
  return `${value.toFixed(value < 10 ? 1 : 0)} ${units[power - 1]}`;
}

/** "1,234,567". */
export const count = (value: number): string => value.toLocaleString("en-US");

/** One line at the bottom of a terminal that is written over; above it lines pass by. Nothing where stderr is none. */
export class Bottom {
  readonly live = Boolean(process.stderr.isTTY);
  #text: string | null = null;

  get width(): number {
    return (process.stderr.columns || 80) - 1;
  }

  /** Shows a text there, or takes it away. */
  show(text: string | null): void {
    if (!this.live || text === this.#text) return;
    this.#text = text;
    process.stderr.write(`\r\x1b[2K${text ?? ""}`);
  }

  /** A line above it. */
  line(text: string, write: (text: string) => void = print): void {
    const text_ = this.#text;
    this.show(null);
    write(text);
    this.show(text_);
  }
}

/** How far bytes have come: a bar in a terminal, else a line every ten seconds. */
export class Transfer {
  readonly #bottom = new Bottom();
  readonly #begin = performance.now();
  #saidAt = performance.now();
  #first: number | null = null;

  constructor(readonly label: string, readonly total: number) {}

  at(done: number): void {
    this.#first ??= done;
    const seconds = (performance.now() - this.#begin) / 1000;
    const rate = (done - this.#first) / Math.max(0.001, seconds);
    const percent = this.total === 0 ? 100 : done / this.total * 100;
    const facts = [
      `${size(done)} of ${size(this.total)}`,
      ...(seconds > 1 && rate > 0 ? [`${size(rate)}/s`, `${duration((this.total - done) / rate)} left`] : []),
    ].join("  ");
    const number = `${String(Math.floor(percent)).padStart(3)} %`;
    if (this.#bottom.live) {
      const room = Math.max(4, Math.min(30, this.#bottom.width - this.label.length - facts.length - 10));
      this.#bottom.show(
        `${number} ${blocks(percent, room)}  ${this.label}  ${facts}`.slice(0, this.#bottom.width),
      );
    } else if (performance.now() - this.#saidAt >= 10_000) {
      this.#saidAt = performance.now();
      note(`${number}  ${this.label}  ${facts}`);
    }
  }

  end(): void {
    this.#bottom.show(null);
  }
}
