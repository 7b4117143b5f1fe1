/** Downloads files with signed URLs: goes on where a download broke off, and checks each against its SHA-256. */
import { createHash, type Hash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, open, rename, rm, stat } from "node:fs/promises";
import { dirname, join, resolve, sep } from "node:path";
import type { Schemas } from "../client/mod.ts";
import { CliError, networkReason } from "./errors.ts";
import { pause } from "./session.ts";

type Remote = Schemas["DownloadFile"];

/** So often in a row a file may bring nothing new. */
const mostBreaks = 6;

/**
 * Brings the files into the folder. `sign` gives their links, anew where the old ones have expired; `at` is told how many
 * bytes of all are there. Files that are there already are left. Throws a CliError for a file that is not what the
 * manifest says, and removes it.
 */
export async function downloadAll(
  folder: string,
  files: Remote[],
  sign: () => Promise<Remote[]>,
  at: (bytes: number) => void,
): Promise<{ path: string; was: "there" | "downloaded" }[]> {
  const done: { path: string; was: "there" | "downloaded" }[] = [];
  let links = files;
  let before = 0;
  const fresh = async (path: string) => {
    links = await sign();
    return linkOf(links, path);
  };
  for (const file of files) {
    const target = below(folder, file.path);
    await mkdir(dirname(target), { recursive: true });
    const was = await isThere(target, file) ? "there" as const : "downloaded" as const;
    if (was === "downloaded") {
      await downloadOne(
        target,
        file,
        linkOf(links, file.path),
        () => fresh(file.path),
        (here) => at(before + here),
      );
    }
    done.push({ path: target, was });
    at(before += file.bytes);
  }
  return done;
}

function linkOf(links: Remote[], path: string): string {
  const found = links.find((link) => link.path === path);
  if (found === undefined) {
    throw new CliError(`${path} is no longer among the adapter's files.`);
  }
  return found.url;
}

/** The path comes from a server: it must stay below the folder. */
function below(folder: string, path: string): string {
  const target = resolve(join(folder, path));
  if (!target.startsWith(resolve(folder) + sep)) {
    throw new CliError(`${path} points out of the folder.`);
  }
  return target;
}

async function isThere(target: string, file: Remote): Promise<boolean> {
  const found = await sizeOf(target);
  return found === file.bytes &&
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

/** `target` appears whole and checked, or not at all; what has come lies in `target.part` until then. */
async function downloadOne(
  target: string,
  file: Remote,
  link: string,
  fresh: () => Promise<string>,
  at: (bytes: number) => void,
): Promise<void> {
  const part = `${target}.part`;
  let have = await sizeOf(part) ?? 0;
  if (have > file.bytes) {
    await rm(part);
    have = 0;
  }
  let hash = have > 0 ? await hashOf(part) : createHash("sha256");
  let url = link;
  let breaks = 0;
  while (have < file.bytes) {
    at(have);
    const begun = have;
    const output = await open(part, have > 0 ? "a" : "w");
    let reason: string | null = null;
    try {
      const response = await fetch(url, have > 0 ? { headers: { range: `bytes=${have}-` } } : {});
      if (response.status >= 400 && response.status < 500) {
        await response.body?.cancel();
        reason = `Storage answered ${response.status}`;
        url = await fresh(); // links live a quarter of an hour
      } else if (!response.ok || response.body === null) {
        await response.body?.cancel();
        reason = `Storage answered ${response.status}`;
      } else {
        if (have > 0 && response.status !== 206) {
          // The whole file comes, whatever was asked for.
          await output.truncate(0);
          hash = createHash("sha256");
          have = 0;
        }
        for await (const chunk of response.body) {
          hash.update(chunk);
          await output.appendFile(chunk);
          at(have += chunk.length);
        }
        reason = have < file.bytes ? "the connection broke" : null;
      }
    } catch (error) {
      if (error instanceof CliError || isLocal(error)) throw error;
      reason = networkReason(error);
    } finally {
      await output.close();
    }
    if (reason === null) break;
    breaks = have > begun ? 0 : breaks + 1;
    if (breaks >= mostBreaks) {
      throw new CliError(
        `${file.path} did not come whole: ${reason}.\nRun the same command to go on from there.`,
      );
    }
    await pause(Math.min(10_000, 250 * 2 ** breaks));
  }
  const sha256 = hash.digest("hex");
  if (have !== file.bytes || sha256 !== file.sha256) {
    await rm(part, { force: true });
    throw new CliError(
      `${file.path} is damaged and was removed: ${have} bytes with SHA-256 ${sha256}; the manifest says ${file.bytes} ` +
        `and ${file.sha256}. Download it again; if it stays so, the copy in Storage is damaged.`,
    );
  }
  if (file.bytes === 0) await (await open(part, "w")).close();
  await rename(part, target);
}

/** An error of this machine's disk, which another try does not change. */
function isLocal(error: unknown): boolean {
  return error instanceof Error && "code" in error &&
    ["ENOSPC", "EACCES", "EPERM", "EIO"].includes(String(error.code));
}
