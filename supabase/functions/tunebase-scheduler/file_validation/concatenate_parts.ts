/**
 * Copies the bytes of several objects into one, by a resumable (TUS) upload to Storage. Storage cannot join objects: its
 * own API has no such call, and its S3 side wants keys of its own and the parts numbered as they come, while OpenAI's
 * uploads say their order at the end. So the check of a file, which reads every byte anyway, writes them on; Storage knows
 * how far the copy is, and whoever goes on asks it.
 */
import type { Supabase } from "../../_shared/platform.ts";
import { unavailable } from "../../_shared/storage.ts";

/** Storage takes resumable uploads in chunks of exactly 6 MB, but for the last. */
const chunkBytes = 6 * 2 ** 20;

export class MultipartConcatenation {
  #buffer = new Uint8Array(chunkBytes);
  #filled = 0;

  private constructor(
    /** The upload's address; null when the object is complete. */
    readonly url: string | null,
    private readonly token: string,
    private sent: number,
    private readonly bytes: number,
  ) {}

  /** How many bytes Storage has. Bytes from here on are wanted. */
  get offset(): number {
    return this.sent;
  }

  /** Begins a copy, or goes on with the one at `url`. */
  static async open(
    supabase: Supabase,
    storage: string,
    object: string,
    bytes: number,
    url: string | null,
  ): Promise<MultipartConcatenation> {
    const bucket = supabase.storage.from("tunebase-datasets");
    const { data: signed, error } = await bucket.createSignedUploadUrl(object, { upsert: true });
    if (error !== null) throw unavailable(`signing an upload of ${object}`, error);
    const { token } = signed;
    if (url !== null) {
      const head = await fetch(url, { method: "HEAD", headers: headers(token) });
      await head.body?.cancel();
      const offset = Number(head.headers.get("upload-offset"));
      if (head.ok) return new MultipartConcatenation(offset < bytes ? url : null, token, offset, bytes);
      if (head.status >= 500) throw unavailable(`asking how far ${object} is`, String(head.status));
      // Gone: it came to its end before that was kept, or is too old.
      const { data: info } = await bucket.info(object);
      if (info?.size === bytes) return new MultipartConcatenation(null, token, bytes, bytes);
    }
    const encoded = (text: string) => btoa(text);
    const made = await fetch(`${storage}/upload/resumable/sign`, {
      method: "POST",
      headers: {
        ...headers(token),
        "upload-length": String(bytes),
        "upload-metadata": `bucketName ${encoded("tunebase-datasets")},objectName ${
          encoded(object)
        },contentType ${encoded("application/jsonl")}`,
      },
    });
    const text = await made.text();
    const location = made.headers.get("location");
    if (made.status !== 201 || location === null) {
      throw unavailable(
        `beginning the copy to ${object}`,
        Object.assign(new Error(`${made.status} ${text}`), { status: made.status }),
      );
    }
    return new MultipartConcatenation(new URL(location, storage).href, token, 0, bytes);
  }

  /** Takes bytes that stand at `at` in the file; what Storage has already is passed over. */
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
    // 409: somebody else has written there. Our place is not theirs: give up, and the next claim asks Storage.
    if (sent.status !== 204) throw unavailable("writing on a copy", `${sent.status} ${text}`);
    this.sent += this.#filled;
    this.#filled = 0;
  }
}

function headers(token: string): Record<string, string> {
  return { "tus-resumable": "1.0.0", "x-signature": token };
}
