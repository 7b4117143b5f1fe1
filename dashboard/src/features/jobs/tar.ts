/** The headers of a tar archive. Imports nothing, so that tests run it without a browser. */

export const tarBlockBytes = 512;

/** The POSIX ustar header of a regular file. */
export function tarHeader(path: string, bytes: number, modified: number): Uint8Array<ArrayBuffer> {
  const header = new Uint8Array(tarBlockBytes);
  const encoder = new TextEncoder();
  const write = (offset: number, text: string) => header.set(encoder.encode(text), offset);
  const octal = (value: number, length: number) => value.toString(8).padStart(length - 1, "0");
  const { name, prefix } = splitPath(path);
  write(0, name);
  write(100, octal(0o644, 8));
  write(108, octal(0, 8));
  write(116, octal(0, 8));
  write(124, octal(bytes, 12));
  write(136, octal(modified, 12));
  write(148, " ".repeat(8)); // the checksum counts as spaces in itself
  write(156, "0");
  write(257, "ustar");
  write(263, "00");
  write(345, prefix);
  write(148, `${octal(header.reduce((sum, byte) => sum + byte, 0), 7)}\0 `);
  return header;
}

/** ustar has 100 bytes for the name and 155 for the folders before it. */
function splitPath(path: string): { name: string; prefix: string } {
  const bytes = (text: string) => new TextEncoder().encode(text).length;
  if (bytes(path) <= 100) return { name: path, prefix: "" };
  for (let at = path.indexOf("/"); at >= 0; at = path.indexOf("/", at + 1)) {
    const [prefix, name] = [path.slice(0, at), path.slice(at + 1)];
    if (bytes(name) <= 100 && bytes(prefix) <= 155) return { name, prefix };
  }
  throw new Error(`The path ${path} is too long for a tar archive.`);
}
