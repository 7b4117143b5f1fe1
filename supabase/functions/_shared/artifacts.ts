/**
 * The files that workers upload: where they land, and how they are taken in. An upload's token lives on after the upload
 * and could write the object again. So uploads land under `incoming/`, and a verified file is moved out of its token's
 * reach, to the prefix that downloads are signed for.
 */
import type { Supabase } from "./platform.ts";
import type { ArtifactFile } from "./protocol.ts";
import { signedUrl, unavailable } from "./storage.ts";

const { createHash } = await import("node:crypto"); // on_first_use.ts says why

const bucketName = "tunebase-adapters";

/** Where an upload of an attempt's holder lands. */
export function incomingObject(prefix: string, fence: number, path: string): string {
  return `incoming/${prefix}/${fence}/${path}`;
}

/**
 * Moves one uploaded file to its place, reads it back from Storage and compares size and SHA-256. Streamed: hashing costs
 * CPU time, of which the platform gives 2 s a request. Returns null when all is well, else what is wrong. A call that is
 * repeated, also while the first is under way, finds the file in its place.
 *
 * What is in its place and right is never removed. Before what is wrong is removed, `forget` takes it out of the verified
 * files, and says whether this fence still holds the attempt: no call that was held up may take away what another worker
 * or a finished job has there.
 */
export async function promoteUpload(
  supabase: Supabase,
  prefix: string,
  fence: number,
  file: ArtifactFile,
  forget: () => Promise<boolean>,
): Promise<string | null> {
  const bucket = supabase.storage.from(bucketName);
  const object = `${prefix}/${file.path}`;
  const incoming = incomingObject(prefix, fence, file.path);
  const { data: arrived } = await bucket.exists(incoming);
  if (arrived) {
    const { data: there } = await bucket.exists(object);
    if (there) {
      if (await compare(supabase, object, file) === null) return null;
      if (!await forget()) return "the attempt has ended, or another worker holds it";
      await bucket.remove([object]);
    }
    const { error } = await bucket.move(incoming, object);
    // Another call of the same may have moved it meanwhile.
    if (error !== null && !(await bucket.exists(object)).data) throw unavailable(`moving ${incoming}`, error);
  }
  const wrong = await compare(supabase, object, file);
  // Out of the way, so that the file can be uploaded and moved here again.
  if (wrong !== null && await forget()) await bucket.remove([object]);
  return wrong;
}

/** null when the object has the file's size and hash; else what is wrong with it. */
async function compare(supabase: Supabase, object: string, file: ArtifactFile): Promise<string | null> {
  const { data: there } = await supabase.storage.from(bucketName).exists(object);
  if (!there) return `${file.path} is not in Storage`;
  const response = await fetch(await signedUrl(supabase, bucketName, object, 600));
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
