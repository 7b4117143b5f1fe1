/** What makes two requests the same: the SHA-256 of path and body. A form counts without its random boundary. */
import type { Buffer as Bytes } from "node:buffer";
import { BoundaryCount, formBoundary } from "../multipart.ts";

const { Buffer } = await import("node:buffer"); // _shared/on_first_use.ts says why
const { createHash } = await import("node:crypto");

export class BodyHash {
  readonly isForm: boolean;
  readonly #hash = createHash("sha256");
  readonly #boundary: Bytes;
  /** The end of what came, too short to say that no boundary begins in it. */
  #rest: Bytes = Buffer.alloc(0);
  #digest: string | null = null;

  readonly #count = new BoundaryCount();

  /** `more` counts beside the body. Refuses a form whose boundary is too short. */
  constructor(contentType: string, more: string[]) {
    const boundary = formBoundary(contentType);
    this.isForm = boundary !== null;
    this.#boundary = Buffer.from(`--${boundary ?? ""}`);
    this.#hash.update(JSON.stringify(more));
  }

  /** Takes the next bytes, in constant memory. Refuses a form with more fields than a form may have. */
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

  /** The hash in hex; after it nothing more is taken. */
  digest(): string {
    this.#digest ??= this.#hash.update(this.#rest).digest("hex");
    return this.#digest;
  }
}
