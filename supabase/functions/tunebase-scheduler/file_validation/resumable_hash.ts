/** Resumable SHA-256 and MD5. hash-wasm can save a hash's state; node:crypto cannot. */
import type { IHasher } from "hash-wasm";
import { fromBase64, toBase64 } from "../../_shared/datasets/row_fingerprints.ts";

/** The hashers' states after `bytes` bytes, in base64. JSON. */
export interface HashState {
  bytes: number;
  sha256: string;
  md5: string | null;
}

/** Hashes a file's bytes in order. Bytes that were already hashed are skipped. */
export class ResumableHash {
  private constructor(
    private readonly sha256: IHasher,
    private readonly md5: IHasher | null,
    private done: number,
  ) {}

  static async start(state: HashState | null, withMd5: boolean): Promise<ResumableHash> {
    const { createMD5, createSHA256 } = await import("hash-wasm");
    const sha256 = await createSHA256();
    const md5 = withMd5 ? await createMD5() : null;
    if (state === null) {
      sha256.init();
      md5?.init();
    } else {
      sha256.load(fromBase64(state.sha256));
      if (state.md5 !== null) md5?.load(fromBase64(state.md5));
    }
    return new ResumableHash(sha256, md5, state?.bytes ?? 0);
  }

  /** `at`: the chunk's offset in the file. */
  update(chunk: Uint8Array, at: number): void {
    const fresh = chunk.subarray(Math.min(chunk.length, this.done - at));
    this.sha256.update(fresh);
    this.md5?.update(fresh);
    this.done += fresh.length;
  }

  /** How many bytes were hashed. */
  get bytes(): number {
    return this.done;
  }

  get state(): HashState {
    return {
      bytes: this.done,
      sha256: toBase64(this.sha256.save()),
      md5: this.md5 === null ? null : toBase64(this.md5.save()),
    };
  }

  /** The hashes, in hex. Do not call `update` afterwards. */
  digest(): { sha256: string; md5: string | null } {
    return { sha256: this.sha256.digest(), md5: this.md5?.digest() ?? null };
  }
}
