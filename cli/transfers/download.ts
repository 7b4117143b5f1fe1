/** Downloads files over signed URLs. Resumes interrupted downloads and verifies each file's SHA-256. */
import { createHash, type Hash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, open, rename, rm, stat } from "node:fs/promises";
import { dirname, join, resolve, sep } from "node:path";
import type { Schemas } from "../../client/mod.ts";
import { sleep } from "../api/session.ts";
import { CliError, networkErrorReason } from "../errors.ts";

type RemoteFile = Schemas["DownloadFile"];

/** Gives up on a file after this many consecutive attempts without a new byte. */
const maxStalledAttempts = 6;

/**
 * Downloads the files into a folder. `sign` returns fresh URLs when the old ones have expired; `onProgress` gets the
 * number of bytes present across all files. Leaves files alone that are already complete. Throws a CliError for a file
 * that does not match the manifest, and removes it.
 */
export async function downloadAll(
  folder: string,
  files: RemoteFile[],
  sign: () => Promise<RemoteFile[]>,
  onProgress: (bytes: number) => void,
): Promise<{ path: string; result: "unchanged" | "downloaded" }[]> {
  const results: { path: string; result: "unchanged" | "downloaded" }[] = [];
  let signed = files;
  let completedBytes = 0;
  const refreshUrl = async (path: string) => {
    signed = await sign();
    return urlOf(signed, path);
  };
  for (const file of files) {
    const target = resolveInside(folder, file.path);
    await mkdir(dirname(target), { recursive: true });
    const result = await isComplete(target, file) ? "unchanged" as const : "downloaded" as const;
    if (result === "downloaded") {
      await downloadOne(
        target,
        file,
        urlOf(signed, file.path),
        () => refreshUrl(file.path),
        (bytes) => onProgress(completedBytes + bytes),
      );
    }
    results.push({ path: target, result });
    onProgress(completedBytes += file.bytes);
  }
  return results;
}

function urlOf(files: RemoteFile[], path: string): string {
  const found = files.find((file) => file.path === path);
  if (found === undefined) {
    throw new CliError(`${path} is no longer part of the adapter.`);
  }
  return found.url;
}

/** The path comes from a server: it must not escape the folder. */
function resolveInside(folder: string, path: string): string {
  const target = resolve(join(folder, path));
  if (!target.startsWith(resolve(folder) + sep)) {
    throw new CliError(`The server sent a path outside the target folder: ${path}`);
  }
  return target;
}

async function isComplete(target: string, file: RemoteFile): Promise<boolean> {
  return await sizeOf(target) === file.bytes &&
    (await hashOf(target)).digest("hex") === file.sha256;
}

async function sizeOf(path: string): Promise<number | null> {
  try {
    return (await stat(path)).size;
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") {
      return null;
    }
    throw error;
  }
}

async function hashOf(path: string): Promise<Hash> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(path)) hash.update(chunk);
  return hash;
}

/** Downloads to `target.part` and renames it only once it is complete and verified. */
async function downloadOne(
  target: string,
  file: RemoteFile,
  firstUrl: string,
  refreshUrl: () => Promise<string>,
  onProgress: (bytes: number) => void,
): Promise<void> {
  const part = `${target}.part`;
  let received = await sizeOf(part) ?? 0;
  if (received > file.bytes) {
    await rm(part);
    received = 0;
  }
  let hash = received > 0 ? await hashOf(part) : createHash("sha256");
  let url = firstUrl;
  let stalledAttempts = 0;
  while (received < file.bytes) {
    onProgress(received);
    const receivedBefore = received;
    const output = await open(part, received > 0 ? "a" : "w");
    let failure: string | null = null;
    try {
      const response = await fetch(url, received > 0 ? { headers: { range: `bytes=${received}-` } } : {});
      if (response.status >= 400 && response.status < 500) {
        await response.body?.cancel();
        failure = `Storage responded with ${response.status}`;
        url = await refreshUrl(); // signed URLs expire after 15 minutes
      } else if (!response.ok || response.body === null) {
        await response.body?.cancel();
        failure = `Storage responded with ${response.status}`;
      } else {
        if (received > 0 && response.status !== 206) {
          // The server ignored the range and sends the whole file.
          await output.truncate(0);
          hash = createHash("sha256");
          received = 0;
        }
        for await (const chunk of response.body) {
          hash.update(chunk);
          await output.appendFile(chunk);
          onProgress(received += chunk.length);
        }
        failure = received < file.bytes ? "the connection was interrupted" : null;
      }
    } catch (error) {
      if (error instanceof CliError || isDiskError(error)) throw error;
      failure = networkErrorReason(error);
    } finally {
      await output.close();
    }
    if (failure === null) break;
    stalledAttempts = received > receivedBefore ? 0 : stalledAttempts + 1;
    if (stalledAttempts >= maxStalledAttempts) {
      throw new CliError(
        `${file.path} was not fully downloaded: ${failure}.\nRun the same command again to resume.`,
      );
    }
    await sleep(Math.min(10_000, 250 * 2 ** stalledAttempts));
  }
  const sha256 = hash.digest("hex");
  if (received !== file.bytes || sha256 !== file.sha256) {
    await rm(part, { force: true });
    throw new CliError(
      `${file.path} is damaged and was removed: got ${received} bytes with SHA-256 ${sha256}, expected ${file.bytes} ` +
        `bytes with ${file.sha256}. Download it again; if the error persists, the copy in Storage is damaged.`,
    );
  }
  if (file.bytes === 0) await (await open(part, "w")).close();
  await rename(part, target);
}

/** A local disk error, which retrying does not fix. */
function isDiskError(error: unknown): boolean {
  return error instanceof Error && "code" in error &&
    ["ENOSPC", "EACCES", "EPERM", "EIO"].includes(String(error.code));
}
