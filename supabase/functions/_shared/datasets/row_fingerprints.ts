/**
 * Finds duplicate rows in bounded memory. Keeps the hashes of all distinct rows up to a limit, then only those below a
 * threshold that is halved as needed (Wegman's adaptive sampling). The sample sees every copy of a sampled row, and two
 * files' samples can be compared. A Bloom filter would have false positives and could not be compared.
 */

const maxHashes = 16_384;
/** Hashes are integers below this, which doubles represent exactly. */
const hashRange = 2 ** 53;
const maxExamples = 20;

export interface FingerprintState {
  threshold: number;
  /** Base64 of float64 hashes and of uint32 line numbers, in the same order. */
  hashes: string;
  lines: string;
  /** [hash, copies] of the repeated rows. */
  copies: [number, number][];
  examples: { line: number; first_line: number }[];
}

export class RowFingerprints {
  #threshold = hashRange;
  #lines = new Map<number, number>();
  #copies = new Map<number, number>();
  #examples: { line: number; first_line: number }[] = [];

  static from(state: FingerprintState): RowFingerprints {
    const sketch = new RowFingerprints();
    sketch.#threshold = state.threshold;
    const lines = new Uint32Array(fromBase64(state.lines).buffer);
    new Float64Array(fromBase64(state.hashes).buffer).forEach((hash, i) =>
      sketch.#lines.set(hash, lines[i] ?? 0)
    );
    sketch.#copies = new Map(state.copies);
    sketch.#examples = [...state.examples];
    return sketch;
  }

  state(): FingerprintState {
    return {
      threshold: this.#threshold,
      hashes: toBase64(new Uint8Array(Float64Array.from(this.#lines.keys()).buffer)),
      lines: toBase64(new Uint8Array(Uint32Array.from(this.#lines.values()).buffer)),
      copies: [...this.#copies],
      examples: this.#examples,
    };
  }

  add(hash: number, line: number): void {
    if (hash >= this.#threshold) return;
    const first = this.#lines.get(hash);
    if (first !== undefined) {
      this.#copies.set(hash, (this.#copies.get(hash) ?? 0) + 1);
      if (this.#examples.length < maxExamples) this.#examples.push({ line, first_line: first });
      return;
    }
    this.#lines.set(hash, line);
    while (this.#lines.size > maxHashes) {
      this.#threshold /= 2;
      for (const kept of this.#lines.keys()) {
        if (kept >= this.#threshold) {
          this.#lines.delete(kept);
          this.#copies.delete(kept);
        }
      }
    }
  }

  /** Copies beyond the first of each row. */
  duplicates(): { rows: number; exact: boolean; examples: { line: number; first_line: number }[] } {
    const seen = [...this.#copies.values()].reduce((sum, copies) => sum + copies, 0);
    return {
      rows: Math.round(seen * hashRange / this.#threshold),
      exact: this.#threshold === hashRange,
      examples: this.#examples,
    };
  }

  /** For comparing files: `hashes` has every distinct row whose hash is below the threshold. */
  sample(): { threshold: number; hashes: number[] } {
    return { threshold: this.#threshold, hashes: [...this.#lines.keys()] };
  }
}

/**
 * A 53-bit hash: two multiply-and-rotate lanes over eight bytes per step, the second fed by the first, with MurmurHash3's
 * finalizer.
 */
export function hashRow(bytes: Uint8Array): number {
  const { length } = bytes;
  const view = new DataView(bytes.buffer, bytes.byteOffset, length);
  const whole = length & ~7;
  let a = 0x9e3779b9 ^ length;
  let b = 0x7f4a7c15 ^ length;
  for (let i = 0; i < whole; i += 8) {
    a = Math.imul(a ^ view.getInt32(i, true), 0x85ebca6b);
    a = a << 13 | a >>> 19;
    b = Math.imul(b ^ view.getInt32(i + 4, true), 0xc2b2ae35) + a | 0;
    b = b << 17 | b >>> 15;
  }
  for (let i = whole; i < length; i++) {
    a = Math.imul(a ^ view.getUint8(i), 0x85ebca6b);
    b = Math.imul(b ^ a, 0xc2b2ae35);
  }
  a = mix(a);
  b = mix(b ^ a);
  a = mix(a ^ b);
  return (b >>> 11) * 2 ** 32 + (a >>> 0);
}

function mix(value: number): number {
  value = Math.imul(value ^ value >>> 16, 0x85ebca6b);
  value = Math.imul(value ^ value >>> 13, 0xc2b2ae35);
  return value ^ value >>> 16;
}

export function toBase64(bytes: Uint8Array): string {
  let text = "";
  // In slices, because the arguments of a call are on the stack.
  for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192));
  return btoa(text);
}

export function fromBase64(text: string) {
  return Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
}
