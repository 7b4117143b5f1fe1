/** Identifies equal requests: the SHA-256 of path and body. Ignores the random boundary of a form. */
import type { Buffer as Bytes } from "node:buffer";
import { BoundaryCount, formBoundary } from "../multipart.ts";

const { Buffer } = await import("node:buffer"); // see _shared/lazy.ts
const { createHash } = await import("node:crypto");

export class BodyHash {
  readonly isForm: boolean;
  readonly #hash = createHash("sha256");
  readonly #boundary: Bytes;
  /** The last bytes received, which can be the start of a boundary. */
  #rest: Bytes = Buffer.alloc(0);
  #digest: string | null = null;

  readonly #count = new BoundaryCount();

  /** `prefix` is hashed before the body. Throws if a form's boundary is too short. */
  constructor(contentType: string, prefix: string[]) {
    const boundary = formBoundary(contentType);
    this.isForm = boundary !== null;
    this.#boundary = Buffer.from(`--${boundary ?? ""}`);
    this.#hash.update(JSON.stringify(prefix));
  }

  /** Hashes the next bytes, in constant memory. Throws if a form has too many fields. */
  update(chunk: Uint8Array): void {
    if (!this.isForm) return void this.#hash.update(chunk);
    const data = Buffer.concat([this.#rest, chunk]);
    let from = 0;
    for (let at = data.indexOf(this.#boundary); at >= 0; at = data.indexOf(this.#boundary, from)) {
      this.#count.add();
      this.#hash.update(data.subarray(from, at));
      from = at + this.#boundary.length;
    }
    const keep = Math.max(from, data.length - this.#boundary.length + 1);
    this.#hash.update(data.subarray(from, keep));
    this.#rest = data.subarray(keep);
  }

  /** The hash in hex. Do not call `update` afterwards. */
  digest(): string {
    this.#digest ??= this.#hash.update(this.#rest).digest("hex");
    return this.#digest;
  }
}
