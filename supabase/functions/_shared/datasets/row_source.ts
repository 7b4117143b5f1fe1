/** Splits a stream of bytes into rows, and can resume from an offset. */

import type { ProblemCode } from "./report.ts";

/** Why something cannot be read: a row, or the file. */
export interface Rejection {
  code: ProblemCode;
  what: string;
  fix: string;
}

export type RowKind = "row" | "meta";

export interface Sink {
  /** `cut`: the file ended within the row. `bytes` is valid only during the call. */
  row(bytes: Uint8Array, line: number, kind: RowKind, cut: boolean): void;
  /** A row of a table: the values of its columns. */
  record(value: Record<string, unknown>, line: number): void;
  tooLong(line: number): void;
  /** Rejects a row (`line`: null for the whole file). `stop`: nothing more is read. */
  reject(line: number | null, rejection: Rejection, stop: boolean): void;
  /** The file is invalid from here on; nothing more is read. */
  broken(line: number, what: "truncated" | "not_json" | "too_deep"): void;
}

export interface RowSource {
  push(chunk: Uint8Array): void;
  end(): void;
  /** Where to resume: the start of the first incomplete row. */
  readonly offset: number;
  /** The state to resume with. JSON. */
  state(): unknown;
}

/** Bytes of an incomplete row, buffered across chunks. */
export class ByteBuffer {
  #pieces: Uint8Array[] = [];
  length = 0;

  /** Copies the bytes, because the caller may reuse its buffer. */
  add(bytes: Uint8Array): void {
    this.#pieces.push(bytes.slice());
    this.length += bytes.length;
  }

  /** Returns the buffered bytes followed by `last`, and clears the buffer. */
  take(last: Uint8Array): Uint8Array {
    if (this.length === 0) return last;
    const whole = new Uint8Array(this.length + last.length);
    let at = 0;
    for (const piece of this.#pieces) {
      whole.set(piece, at);
      at += piece.length;
    }
    whole.set(last, at);
    this.clear();
    return whole;
  }

  clear(): void {
    this.#pieces = [];
    this.length = 0;
  }
}
