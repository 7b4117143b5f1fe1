/** Builds one tar archive of an adapter's files in the browser. */
import { canHash, sha256Hex } from "../../lib/hash.ts";
import type { DownloadFile } from "../../lib/types.ts";
import { tarBlockBytes, tarHeader } from "./tar.ts";

/** The browser holds all files until the download is complete. */
export const maxArchiveBytes = 4 * 2 ** 30;
/** Hashing needs the whole file in memory. */
const maxHashedBytes = 512 * 2 ** 20;

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
    const padding = (tarBlockBytes - content.size % tarBlockBytes) % tarBlockBytes;
    parts.push(tarHeader(`${folder}/${file.path}`, content.size, now), content, new Uint8Array(padding));
  }
  parts.push(new Uint8Array(2 * tarBlockBytes));
  return new Blob(parts, { type: "application/x-tar" });
}

async function isIntact(content: Blob, { bytes, sha256 }: DownloadFile): Promise<boolean> {
  if (content.size !== bytes) return false;
  return bytes > maxHashedBytes || !canHash() || await sha256Hex(content) === sha256;
}

/** Saves a file under a name. */
export function saveBlob(blob: Blob, name: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
