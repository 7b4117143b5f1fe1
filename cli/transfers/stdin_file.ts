/** Standard input where a command takes a file: `-`. */
import { createWriteStream } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { pipeline } from "node:stream/promises";

/** Whether the argument is `-`, standard input. */
export const isStdin = (path: string): boolean => path === "-";

/** A file's name in messages. */
export const displayName = (path: string): string => isStdin(path) ? "stdin" : path;

/**
 * Calls `work` with a path to read. Standard input is saved to a temporary file first: uploads and conversions read their
 * input more than once.
 */
export async function withReadableFile<T>(path: string, work: (path: string) => Promise<T>): Promise<T> {
  if (!isStdin(path)) return await work(path);
  const folder = await mkdtemp(join(tmpdir(), "tunebase-"));
  try {
    const file = join(folder, "stdin");
    await pipeline(process.stdin, createWriteStream(file, { mode: 0o600 }));
    return await work(file);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
