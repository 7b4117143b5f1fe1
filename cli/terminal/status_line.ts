/** The line at the bottom of the terminal that is redrawn in place. */
import process from "node:process";
import { print } from "./output.ts";

/** Other lines scroll above it. Does nothing when stderr is not a terminal. */
export class StatusLine {
  readonly isLive = Boolean(process.stderr.isTTY);
  #text: string | null = null;

  get width(): number {
    return (process.stderr.columns || 80) - 1;
  }

  /** Shows a text; null clears the line. */
  show(text: string | null): void {
    if (!this.isLive || text === this.#text) return;
    this.#text = text;
    process.stderr.write(`\r\x1b[2K${text ?? ""}`);
  }

  /** Prints a line above the status. */
  printAbove(text: string, write: (text: string) => void = print): void {
    const current = this.#text;
    this.show(null);
    write(text);
    this.show(current);
  }
}
