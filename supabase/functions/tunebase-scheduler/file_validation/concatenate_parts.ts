/**
 * Concatenates several objects into one with a resumable (TUS) upload to Storage. Storage cannot concatenate objects: its
 * API has no such call, and its S3 interface needs separate keys and part numbers up front, while OpenAI's uploads give the
 * order only on completion. So validation, which reads every byte anyway, also writes the copy. Storage knows the upload's
 * offset, so another worker can resume it.
 */
import { buckets } from "../../_shared/contracts/buckets.ts";
import type { Supabase } from "../../_shared/platform.ts";
import { unavailable } from "../../_shared/storage.ts";

/** Storage requires chunks of exactly 6 MiB, except for the last one. */
const chunkBytes = 6 * 2 ** 20;

export class MultipartConcatenation {
  #buffer = new Uint8Array(chunkBytes);
  #filled = 0;

  private constructor(
    /** The upload's URL; null if the object is complete. */
    readonly url: string | null,
    private readonly token: string,
    private sent: number,
    private readonly bytes: number,
  ) {}

  /** How many bytes Storage has: the next byte to write. */
  get offset(): number {
    return this.sent;
  }

  /** Starts a copy, or resumes the one at `url`. */
  static async open(
    supabase: Supabase,
    storage: string,
    object: string,
    bytes: number,
    url: string | null,
  ): Promise<MultipartConcatenation> {
    const bucket = supabase.storage.from(buckets.datasets);
    const { data: signed, error } = await bucket.createSignedUploadUrl(object, { upsert: true });
    if (error !== null) throw unavailable(`signing an upload of ${object}`, error);
    const { token } = signed;
    if (url !== null) {
      const head = await fetch(url, { method: "HEAD", headers: headers(token) });
      await head.body?.cancel();
      const offset = Number(head.headers.get("upload-offset"));
      if (head.ok) return new MultipartConcatenation(offset < bytes ? url : null, token, offset, bytes);
      if (head.status >= 500) {
        throw unavailable(`reading the upload offset of ${object}`, String(head.status));
      }
      // Gone: it was completed before that was saved, or it expired.
      const { data: info } = await bucket.info(object);
      if (info?.size === bytes) return new MultipartConcatenation(null, token, bytes, bytes);
    }
    const encoded = (text: string) => btoa(text);
    const created = await fetch(`${storage}/upload/resumable/sign`, {
      method: "POST",
      headers: {
        ...headers(token),
        "upload-length": String(bytes),
        "upload-metadata": `bucketName ${encoded(buckets.datasets)},objectName ${
          encoded(object)
        },contentType ${encoded("application/jsonl")}`,
      },
    });
    const text = await created.text();
    const location = created.headers.get("location");
    if (created.status !== 201 || location === null) {
      throw unavailable(
        `creating the upload of ${object}`,
        Object.assign(new Error(`${created.status} ${text}`), { status: created.status }),
      );
    }
    return new MultipartConcatenation(new URL(location, storage).href, token, 0, bytes);
  }

  /** `at`: the chunk's offset in the file. Skips bytes that Storage already has. */
  async write(chunk: Uint8Array, at: number): Promise<void> {
    let rest = chunk.subarray(Math.max(0, Math.min(chunk.length, this.sent + this.#filled - at)));
    while (rest.length > 0) {
      const part = rest.subarray(0, chunkBytes - this.#filled);
      this.#buffer.set(part, this.#filled);
      this.#filled += part.length;
      rest = rest.subarray(part.length);
      if (this.#filled === chunkBytes || this.sent + this.#filled === this.bytes) await this.#send();
    }
  }

  async #send(): Promise<void> {
    if (this.url === null) return;
    const sent = await fetch(this.url, {
      method: "PATCH",
      headers: {
        ...headers(this.token),
        "content-type": "application/offset+octet-stream",
        "upload-offset": String(this.sent),
      },
      body: this.#buffer.subarray(0, this.#filled),
    });
    const text = await sent.text();
    // 409: another worker has written at this offset. Give up; the next claim reads the offset from Storage.
    if (sent.status !== 204) throw unavailable("uploading a chunk", `${sent.status} ${text}`);
    this.sent += this.#filled;
    this.#filled = 0;
  }
}

function headers(token: string): Record<string, string> {
  return { "tus-resumable": "1.0.0", "x-signature": token };
}
