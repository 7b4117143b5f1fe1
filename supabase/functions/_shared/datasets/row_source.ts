/** Where rows come from: bytes in, one row's bytes out, and a place to go on from. */

import type { ProblemCode } from "./report.ts";

/** Why something cannot be read: a row, or the file. */
export interface Rejection {
  code: ProblemCode;
  what: string;
  fix: string;
}

export type RowKind = "row" | "meta";

export interface Sink {
  /** `cut`: the file ended in the middle of it. The bytes hold only until the call returns. */
  row(bytes: Uint8Array, line: number, kind: RowKind, cut: boolean): void;
  /** A row of a table: the values of its columns. */
  record(value: Record<string, unknown>, line: number): void;
  tooLong(line: number): void;
  /** A row that is none (`line`: null for the file as a whole). `stop`: nothing more is read. */
  reject(line: number | null, refusal: Rejection, stop: boolean): void;
  /** The file as a whole is broken here; nothing more is read. */
  broken(line: number, what: "truncated" | "not_json" | "too_deep"): void;
}

export interface RowSource {
  push(chunk: Uint8Array): void;
  end(): void;
  /** The byte from which to go on: the beginning of what is not finished. */
  readonly offset: number;
  /** What to go on with there; JSON. */
  state(): unknown;
}

/** Bytes that are held over from chunk to chunk. */
export class ByteBuffer {
  #pieces: Uint8Array[] = [];
  length = 0;

  /** Copies: the caller may use its buffer again. */
  add(bytes: Uint8Array): void {
    this.#pieces.push(bytes.slice());
    this.length += bytes.length;
  }

  /** All of it, followed by `last`. Empty afterwards. */
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
