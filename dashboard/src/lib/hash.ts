/** SHA-256 in the browser. It needs the whole content in memory, and HTTPS or localhost. */

export const canHash = (): boolean => isSecureContext;

/** As lower-case hexadecimal digits. */
export async function sha256Hex(content: Blob): Promise<string> {
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", await content.arrayBuffer()));
  return Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
