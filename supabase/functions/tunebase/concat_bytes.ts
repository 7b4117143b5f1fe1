/** One array of many chunks. Its type is inferred: Deno 2.1's Uint8Array takes no parameter, and later ones need it. */
export function join(chunks: Uint8Array[]) {
  const joined = new Uint8Array(chunks.reduce((sum, chunk) => sum + chunk.length, 0));
  let at = 0;
  for (const chunk of chunks) {
    joined.set(chunk, at);
    at += chunk.length;
  }
  return joined;
}
