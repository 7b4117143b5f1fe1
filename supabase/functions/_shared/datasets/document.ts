/**
 * One brightrun-lora-v4 JSON document: takes `conversations[].training_pairs[]` out of it, row by row, and its metadata,
 * and passes over the rest. What is passed over is checked for its brackets and strings only.
 */
import { maxDepth, maxLineBytes } from "./report.ts";
import { ByteBuffer, type RowKind, type RowSource, type Sink } from "./row_source.ts";

export interface DocumentState {
  offset: number;
  lines: number;
  /** The brackets that are open. */
  open: string;
  /** The newest key of the root and of a conversation. */
  rootKey: string;
  conversationKey: string;
  inString: boolean;
  escaped: boolean;
  /** A string that is being read and may be a key; null when it is none, or too long for one of ours. */
  text: string | null;
  /** A row that is too long is being passed over, down to this many open brackets. */
  skipTo: number | null;
}

interface Taking {
  kind: RowKind;
  line: number;
  open: string;
  inString: boolean;
  escaped: boolean;
}

export class Document implements RowSource {
  #state: DocumentState;
  #buffered = new ByteBuffer();
  /** What is being taken out; the state stays as it was where it began. */
  #taking: Taking | null = null;
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
      at = this.#taking === null ? this.#pass(chunk, at) : this.#take(chunk, at, this.#taking);
    }
  }

  end(): void {
    if (this.#failed) return;
    if (this.#taking !== null || this.#state.inString || this.#state.open !== "") {
      this.sink.broken(this.#lines + 1, "truncated");
    }
  }

  /** Passes over bytes until something is to be taken out, or the chunk ends; returns where. */
  #pass(chunk: Uint8Array, from: number): number {
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
        const kind = state.skipTo === null && byte === 123 ? this.#wanted() : null;
        if (kind !== null) {
          this.#taking = { kind, line: this.#lines + 1, open: "", inString: false, escaped: false };
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

  /** One byte of a string that is passed over. */
  #inString(byte: number): void {
    const state = this.#state;
    if (state.escaped) state.escaped = false;
    else if (byte === 92) state.escaped = true;
    else if (byte === 34) state.inString = false;
    if (state.inString && state.text !== null) {
      state.text = state.text.length < 40 ? state.text + String.fromCharCode(byte) : null;
    }
  }

  /** What an object that begins here is: a row, the metadata, or nothing of ours. */
  #wanted(): RowKind | null {
    const { open, rootKey, conversationKey } = this.#state;
    if (open === "{[{[" && rootKey === "conversations" && conversationKey === "training_pairs") return "row";
    return open === "{" && rootKey === "training_file_metadata" ? "meta" : null;
  }

  /** Takes bytes up to the end of the object that is being taken out, or of the chunk; returns where. */
  #take(chunk: Uint8Array, from: number, taking: Taking): number {
    const most = Math.min(chunk.length, from + maxLineBytes - this.#buffered.length + 1);
    let at = from;
    for (; at < most; at++) {
      const byte = chunk[at];
      if (byte === 10) this.#lines += 1;
      if (taking.inString) {
        if (taking.escaped) taking.escaped = false;
        else if (byte === 92) taking.escaped = true;
        else if (byte === 34) taking.inString = false;
      } else if (byte === 34) taking.inString = true;
      else if (byte === 123 || byte === 91) {
        taking.open += byte === 123 ? "{" : "[";
        if (taking.open.length > maxDepth) return this.#fail("too_deep", at);
      } else if (byte === 125 || byte === 93) {
        taking.open = taking.open.slice(0, -1);
        if (taking.open === "") {
          const row = this.#buffered.take(chunk.subarray(from, at + 1));
          this.#taking = null;
          this.#state.offset += row.length;
          this.#state.lines = this.#lines;
          this.sink.row(row, taking.line, taking.kind, false);
          return at + 1;
        }
      }
    }
    this.#buffered.add(chunk.subarray(from, at));
    if (this.#buffered.length > maxLineBytes) this.#passOver(taking);
    return at;
  }

  /** What is being taken out is too long: from here on it is passed over. */
  #passOver(taking: Taking): void {
    const state = this.#state;
    this.sink.tooLong(taking.line);
    state.offset += this.#buffered.length;
    state.lines = this.#lines;
    state.skipTo = state.open.length;
    state.open += taking.open;
    state.inString = taking.inString;
    state.escaped = taking.escaped;
    state.text = null;
    this.#buffered.clear();
    this.#taking = null;
  }

  #fail(what: "not_json" | "too_deep", at: number): number {
    this.#failed = true;
    this.sink.broken(this.#lines + 1, what);
    return at;
  }
}
