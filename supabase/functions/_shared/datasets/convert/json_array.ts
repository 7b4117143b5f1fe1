/** Streams the objects of one JSON array without holding the array in memory. `line` is the item's number. */
import { maxDepth, maxLineBytes } from "../report.ts";
import { ByteBuffer, type RowSource, type Sink } from "../row_source.ts";

export interface JsonArrayState {
  offset: number;
  items: number;
  /** The next expected token: the opening bracket, an item, a comma or closing bracket, or nothing. */
  expects: "array" | "first" | "item" | "comma" | "end";
  /** The position in an oversized item that is being skipped. */
  skipping: Nesting | null;
}

interface Nesting {
  depth: number;
  inString: boolean;
  escaped: boolean;
}

export class JsonArray implements RowSource {
  #state: JsonArrayState;
  #held = new ByteBuffer();
  /** The position in the current item; `#state` stays at the item's start. */
  #item: Nesting | null = null;
  #failed = false;

  constructor(private readonly sink: Sink, state: JsonArrayState) {
    this.#state = structuredClone(state);
  }

  static start(offset: number): JsonArrayState {
    return { offset, items: 0, expects: "array", skipping: null };
  }

  get offset(): number {
    return this.#state.offset;
  }

  state(): JsonArrayState {
    return structuredClone(this.#state);
  }

  push(chunk: Uint8Array): void {
    const state = this.#state;
    for (let at = 0; at < chunk.length && !this.#failed;) {
      if (this.#item !== null) at = this.#take(chunk, at, this.#item);
      else if (state.skipping !== null) {
        const end = nestedEnd(chunk, at, chunk.length, state.skipping);
        state.offset += end - at;
        at = end;
        if (state.skipping.depth === 0) state.skipping = null;
      } else at = this.#between(chunk, at);
    }
  }

  end(): void {
    if (this.#failed || this.#state.expects === "end") return;
    this.sink.broken(this.#state.items + 1, "truncated");
  }

  /** One byte between items. */
  #between(chunk: Uint8Array, at: number): number {
    const state = this.#state;
    const char = String.fromCharCode(chunk[at] ?? 0);
    const { expects } = state;
    if (char === "{" && (expects === "first" || expects === "item")) {
      this.#item = { depth: 0, inString: false, escaped: false };
      return at;
    }
    if (!/[ \t\r\n]/.test(char)) {
      if (char === "[" && expects === "array") state.expects = "first";
      else if (char === "," && expects === "comma") state.expects = "item";
      else if (char === "]" && (expects === "comma" || expects === "first")) state.expects = "end";
      else return this.#fail(char, at);
    }
    state.offset += 1;
    return at + 1;
  }

  #take(chunk: Uint8Array, from: number, item: Nesting): number {
    const state = this.#state;
    const most = Math.min(chunk.length, from + maxLineBytes - this.#held.length + 1);
    const end = nestedEnd(chunk, from, most, item);
    if (item.depth > maxDepth) {
      this.#failed = true;
      this.sink.broken(state.items + 1, "too_deep");
    } else if (item.depth === 0) {
      const row = this.#held.take(chunk.subarray(from, end));
      this.#item = null;
      state.offset += row.length;
      state.items += 1;
      state.expects = "comma";
      this.sink.row(row, state.items, "row", false);
    } else {
      this.#held.add(chunk.subarray(from, end));
      if (this.#held.length > maxLineBytes) this.#skip(item);
    }
    return end;
  }

  #skip(item: Nesting): void {
    const state = this.#state;
    state.items += 1;
    state.offset += this.#held.length;
    state.expects = "comma";
    state.skipping = item;
    this.#held.clear();
    this.#item = null;
    this.sink.tooLong(state.items);
  }

  #fail(char: string, at: number): number {
    this.#failed = true;
    const { expects, items } = this.#state;
    const isItem = expects === "first" || expects === "item";
    this.sink.reject(
      isItem ? items + 1 : null,
      isItem && /["[\dtfn-]/.test(char)
        ? {
          code: "not_object",
          what: "must be a JSON object",
          fix: "Each item of the array must be one row.",
        }
        : {
          code: "not_json",
          what: `is not a single JSON array: ${JSON.stringify(char)} follows ${
            items === 0 ? "its beginning" : `item ${items}`
          }`,
          fix: expects === "end" && char === "["
            ? 'Is each line a list of messages? Write {"messages": […]} on each line.'
            : "Write the file with a JSON library, or one JSON object per line.",
        },
      true,
    );
    return at;
  }
}

/** Scans to the end of the object (depth 0), to excessive depth, or to `to`; returns the position. */
function nestedEnd(chunk: Uint8Array, from: number, to: number, nesting: Nesting): number {
  let { depth, inString, escaped } = nesting;
  let at = from;
  while (at < to) {
    const byte = chunk[at];
    at += 1;
    if (inString) {
      if (escaped) escaped = false;
      else if (byte === 92) escaped = true;
      else if (byte === 34) inString = false;
    } else if (byte === 34) inString = true;
    else if (byte === 123 || byte === 91) {
      depth += 1;
      if (depth > maxDepth) break;
    } else if (byte === 125 || byte === 93) {
      depth -= 1;
      if (depth === 0) break;
    }
  }
  Object.assign(nesting, { depth, inString, escaped });
  return at;
}
