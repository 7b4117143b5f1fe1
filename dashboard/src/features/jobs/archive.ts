/** An adapter's files as one tar archive, made in the browser. */
import { canHash, sha256Hex } from "../../lib/hash.ts";
import type { DownloadFile } from "../../lib/types.ts";

/** The browser holds all files until the download is complete. */
export const maxArchiveBytes = 4 * 2 ** 30;
/** Hashing needs the whole file in memory. */
const maxHashedBytes = 512 * 2 ** 20;
const blockBytes = 512;

/** Downloads the files and checks their sizes and hashes. */
export async function fetchArchive(folder: string, files: DownloadFile[]): Promise<Blob> {
  const now = Math.floor(Date.now() / 1000);
  const parts: BlobPart[] = [];
  for (const file of files) {
    const response = await fetch(file.url);
    if (!response.ok) {
      throw new Error(`Could not download ${file.path} (HTTP ${response.status}). Try again.`);
    }
    const content = await response.blob();
    if (!await isIntact(content, file)) {
      throw new Error(`${file.path} does not match its SHA-256 hash. Try again.`);
    }
    const padding = (blockBytes - content.size % blockBytes) % blockBytes;
    parts.push(tarHeader(`${folder}/${file.path}`, content.size, now), content, new Uint8Array(padding));
  }
  parts.push(new Uint8Array(2 * blockBytes));
  return new Blob(parts, { type: "application/x-tar" });
}

async function isIntact(content: Blob, { bytes, sha256 }: DownloadFile): Promise<boolean> {
  if (content.size !== bytes) return false;
  return bytes > maxHashedBytes || !canHash() || await sha256Hex(content) === sha256;
}

/** The POSIX ustar header of a regular file. */
export function tarHeader(path: string, bytes: number, modified: number): Uint8Array<ArrayBuffer> {
  const header = new Uint8Array(blockBytes);
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

/** Saves a file under a name. */
export function saveBlob(blob: Blob, name: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
