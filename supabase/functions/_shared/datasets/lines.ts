/** JSONL: one row per line. Skips blank lines, and lines that are too long without buffering them. */
import { maxLineBytes } from "./report.ts";
import { ByteBuffer, type RowSource, type Sink } from "./row_source.ts";

export interface LinesState {
  offset: number;
  lines: number;
  skipping: boolean;
}

export class Lines implements RowSource {
  #buffered = new ByteBuffer();
  #state: LinesState;

  constructor(private readonly sink: Sink, state: LinesState) {
    this.#state = { ...state };
  }

  get offset(): number {
    return this.#state.offset;
  }

  state(): LinesState {
    return { ...this.#state };
  }

  push(chunk: Uint8Array): void {
    const state = this.#state;
    let start = 0;
    while (start < chunk.length) {
      if (this.#buffered.length === 0 && !state.skipping) {
        const begin = this.#skipBlank(chunk, start);
        state.offset += begin - start;
        start = begin;
        if (start === chunk.length) return;
      }
      const end = chunk.indexOf(10, start);
      const part = chunk.subarray(start, end < 0 ? chunk.length : end);
      if (state.skipping) {
        state.offset += part.length;
      } else if (this.#buffered.length + part.length > maxLineBytes) {
        this.sink.tooLong(state.lines + 1);
        state.offset += this.#buffered.length + part.length;
        this.#buffered.clear();
        state.skipping = true;
      } else if (end < 0) {
        this.#buffered.add(part);
      } else {
        const line = this.#buffered.take(part);
        state.offset += line.length;
        this.sink.row(trimEnd(line), state.lines + 1, "row", false);
      }
      if (end < 0) return;
      state.offset += 1;
      state.lines += 1;
      state.skipping = false;
      start = end + 1;
    }
  }

  end(): void {
    if (this.#buffered.length === 0) return;
    const line = this.#buffered.take(new Uint8Array());
    this.#state.offset += line.length;
    this.sink.row(trimEnd(line), this.#state.lines + 1, "row", true);
  }

  /** The index of the next non-blank byte. Loops over bytes, because a file can have a million empty lines. */
  #skipBlank(chunk: Uint8Array, start: number): number {
    let at = start;
    for (; at < chunk.length; at++) {
      const byte = chunk[at];
      if (byte === 10) this.#state.lines += 1;
      else if (byte !== 13 && byte !== 32 && byte !== 9) break;
    }
    return at;
  }
}

/** Trims trailing blanks and the carriage return of Windows line endings. */
function trimEnd(line: Uint8Array): Uint8Array {
  let end = line.length;
  while (end > 0 && (line[end - 1] === 13 || line[end - 1] === 32 || line[end - 1] === 9)) end -= 1;
  return line.subarray(0, end);
}
