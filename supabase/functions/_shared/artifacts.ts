/**
 * The files that workers upload. An upload token stays valid after the upload and could overwrite the object. So uploads
 * land under `incoming/`, and verified files move out of the token's reach, to the prefix that downloads are signed for.
 */
import { buckets } from "./contracts/buckets.ts";
import type { Supabase } from "./platform.ts";
import type { ArtifactFile } from "./protocol.ts";
import { signedUrl, unavailable } from "./storage.ts";

const { createHash } = await import("node:crypto"); // see lazy.ts

/** The object that the holder of an attempt uploads a file to. */
export function incomingObject(prefix: string, fence: number, path: string): string {
  return `incoming/${prefix}/${fence}/${path}`;
}

/**
 * Moves an uploaded file to its final object, reads it back from Storage and compares size and SHA-256. Handles one file
 * per call, because hashing uses CPU time, of which the platform allows 2 s per request. Returns null if the file is valid,
 * otherwise what is wrong. Safe to repeat, even concurrently.
 *
 * Never removes a valid file. Before it removes an invalid one, `invalidate` unmarks it as verified and returns whether
 * this fence still holds the attempt: a delayed call must not delete the files of another worker or of a finished job.
 */
export async function promoteUpload(
  supabase: Supabase,
  prefix: string,
  fence: number,
  file: ArtifactFile,
  invalidate: () => Promise<boolean>,
): Promise<string | null> {
  const bucket = supabase.storage.from(buckets.adapters);
  const object = `${prefix}/${file.path}`;
  const incoming = incomingObject(prefix, fence, file.path);
  const { data: arrived } = await bucket.exists(incoming);
  if (arrived) {
    const { data: exists } = await bucket.exists(object);
    if (exists) {
      if (await compare(supabase, object, file) === null) return null;
      if (!await invalidate()) return "the attempt has ended, or another worker holds it";
      await bucket.remove([object]);
    }
    const { error } = await bucket.move(incoming, object);
    // A concurrent call may have moved it.
    if (error !== null && !(await bucket.exists(object)).data) throw unavailable(`moving ${incoming}`, error);
  }
  const mismatch = await compare(supabase, object, file);
  // Removed, so that the file can be uploaded and moved here again.
  if (mismatch !== null && await invalidate()) await bucket.remove([object]);
  return mismatch;
}

/** null if the object has the file's size and hash, otherwise how it differs. */
async function compare(supabase: Supabase, object: string, file: ArtifactFile): Promise<string | null> {
  const { data: exists } = await supabase.storage.from(buckets.adapters).exists(object);
  if (!exists) return `${file.path} is not in Storage`;
  const response = await fetch(await signedUrl(supabase, buckets.adapters, object, 600));
  if (!response.ok || response.body === null) {
    throw unavailable(`reading ${object}`, `${response.status} ${await response.text()}`);
  }
  const hash = createHash("sha256");
  let bytes = 0;
  for await (const chunk of response.body) {
    bytes += chunk.length;
    hash.update(chunk);
  }
  if (bytes !== file.bytes) return `${file.path} has ${bytes} bytes in Storage, not ${file.bytes}`;
  const sha256 = hash.digest("hex");
  return sha256 === file.sha256
    ? null
    : `${file.path} has the SHA-256 ${sha256} in Storage, not ${file.sha256}`;
}
