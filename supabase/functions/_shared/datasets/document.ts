/**
 * Reads a brightrun-lora-v4 JSON document: extracts the rows in `conversations[].training_pairs[]` and the metadata, and
 * skips the rest. In the skipped parts, only brackets and strings are checked.
 */
import { maxDepth, maxLineBytes } from "./report.ts";
import { ByteBuffer, type RowKind, type RowSource, type Sink } from "./row_source.ts";

export interface DocumentState {
  offset: number;
  lines: number;
  /** The open brackets. */
  open: string;
  /** The latest key of the root and of a conversation. */
  rootKey: string;
  conversationKey: string;
  inString: boolean;
  escaped: boolean;
  /** A string being read that may be a key; null if it is not one, or too long to match. */
  text: string | null;
  /** Skipping a row that is too long, until this many brackets are open. */
  skipTo: number | null;
}

interface Extraction {
  kind: RowKind;
  line: number;
  open: string;
  inString: boolean;
  escaped: boolean;
}

export class Document implements RowSource {
  #state: DocumentState;
  #buffered = new ByteBuffer();
  /** The object being extracted. Meanwhile, the state stays as it was at the object's start. */
  #extraction: Extraction | null = null;
  #lines: number;
  #failed = false;

  constructor(private readonly sink: Sink, state: DocumentState) {
    this.#state = { ...state };
    this.#lines = state.lines;
  }

  static start(offset: number): DocumentState {
    return {
      offset,
      lines: 0,
      open: "",
      rootKey: "",
      conversationKey: "",
      inString: false,
      escaped: false,
      text: null,
      skipTo: null,
    };
  }

  get offset(): number {
    return this.#state.offset;
  }

  state(): DocumentState {
    return { ...this.#state };
  }

  push(chunk: Uint8Array): void {
    for (let at = 0; at < chunk.length && !this.#failed;) {
      at = this.#extraction === null ? this.#skip(chunk, at) : this.#extract(chunk, at, this.#extraction);
    }
  }

  end(): void {
    if (this.#failed) return;
    if (this.#extraction !== null || this.#state.inString || this.#state.open !== "") {
      this.sink.broken(this.#lines + 1, "truncated");
    }
  }

  /** Skips to the next object to extract, or to the end of the chunk. Returns the index. */
  #skip(chunk: Uint8Array, from: number): number {
    const state = this.#state;
    let at = from;
    for (; at < chunk.length; at++) {
      const byte = chunk[at] ?? 0;
      if (byte === 10) this.#lines += 1;
      if (state.inString) {
        this.#inString(byte);
        continue;
      }
      if (byte === 34) {
        state.inString = true;
        state.text = state.open === "{" || state.open === "{[{" ? "" : null;
      } else if (byte === 58 && state.text !== null) {
        if (state.open === "{") state.rootKey = state.text;
        else state.conversationKey = state.text;
      } else if (byte === 123 || byte === 91) {
        const kind = state.skipTo === null && byte === 123 ? this.#kindHere() : null;
        if (kind !== null) {
          this.#extraction = { kind, line: this.#lines + 1, open: "", inString: false, escaped: false };
          break;
        }
        state.open += byte === 123 ? "{" : "[";
        if (state.open.length > maxDepth) return this.#fail("too_deep", at);
      } else if (byte === 125 || byte === 93) {
        if (!state.open.endsWith(byte === 125 ? "{" : "[")) return this.#fail("not_json", at);
        state.open = state.open.slice(0, -1);
        if (state.open.length === state.skipTo) state.skipTo = null;
      } else if (state.open === "" && byte > 32) return this.#fail("not_json", at);
    }
    state.offset += at - from;
    state.lines = this.#lines;
    return at;
  }

  /** Skips one byte of a string. */
  #inString(byte: number): void {
    const state = this.#state;
    if (state.escaped) state.escaped = false;
    else if (byte === 92) state.escaped = true;
    else if (byte === 34) state.inString = false;
    if (state.inString && state.text !== null) {
      state.text = state.text.length < 40 ? state.text + String.fromCharCode(byte) : null;
    }
  }

  /** What an object that starts here is: a row, the metadata, or null. */
  #kindHere(): RowKind | null {
    const { open, rootKey, conversationKey } = this.#state;
    if (open === "{[{[" && rootKey === "conversations" && conversationKey === "training_pairs") return "row";
    return open === "{" && rootKey === "training_file_metadata" ? "meta" : null;
  }

  /** Reads to the end of the object being extracted, or of the chunk. Returns the index. */
  #extract(chunk: Uint8Array, from: number, extraction: Extraction): number {
    const end = Math.min(chunk.length, from + maxLineBytes - this.#buffered.length + 1);
    let at = from;
    for (; at < end; at++) {
      const byte = chunk[at];
      if (byte === 10) this.#lines += 1;
      if (extraction.inString) {
        if (extraction.escaped) extraction.escaped = false;
        else if (byte === 92) extraction.escaped = true;
        else if (byte === 34) extraction.inString = false;
      } else if (byte === 34) extraction.inString = true;
      else if (byte === 123 || byte === 91) {
        extraction.open += byte === 123 ? "{" : "[";
        if (extraction.open.length > maxDepth) return this.#fail("too_deep", at);
      } else if (byte === 125 || byte === 93) {
        extraction.open = extraction.open.slice(0, -1);
        if (extraction.open === "") {
          const row = this.#buffered.take(chunk.subarray(from, at + 1));
          this.#extraction = null;
          this.#state.offset += row.length;
          this.#state.lines = this.#lines;
          this.sink.row(row, extraction.line, extraction.kind, false);
          return at + 1;
        }
      }
    }
    this.#buffered.add(chunk.subarray(from, at));
    if (this.#buffered.length > maxLineBytes) this.#skipRest(extraction);
    return at;
  }

  /** The object being extracted is too long: skips the rest of it. */
  #skipRest(extraction: Extraction): void {
    const state = this.#state;
    this.sink.tooLong(extraction.line);
    state.offset += this.#buffered.length;
    state.lines = this.#lines;
    state.skipTo = state.open.length;
    state.open += extraction.open;
    state.inString = extraction.inString;
    state.escaped = extraction.escaped;
    state.text = null;
    this.#buffered.clear();
    this.#extraction = null;
  }

  #fail(what: "not_json" | "too_deep", at: number): number {
    this.#failed = true;
    this.sink.broken(this.#lines + 1, what);
    return at;
  }
}
