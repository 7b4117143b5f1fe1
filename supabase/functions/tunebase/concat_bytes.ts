/** Concatenates chunks. The return type is inferred, because Uint8Array is generic only in Deno versions after 2.1. */
export function concatBytes(chunks: Uint8Array[]) {
  const joined = new Uint8Array(chunks.reduce((sum, chunk) => sum + chunk.length, 0));
  let at = 0;
  for (const chunk of chunks) {
    joined.set(chunk, at);
    at += chunk.length;
  }
  return joined;
}
