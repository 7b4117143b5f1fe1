/** Path helpers based on Node's library, because Deno's is not on npm. */
import { isAbsolute, join as joinParts } from "node:path";
import { fileURLToPath } from "node:url";

/** Joins paths. An absolute part replaces everything before it, as with `cd`. */
export function join(first: string, ...parts: string[]): string {
  return parts.reduce((path, part) => isAbsolute(part) ? part : joinParts(path, part), first);
}

/** A file URL as a path. */
export const fromFileUrl = (url: URL): string => fileURLToPath(url);

/** Whether the path exists. */
export async function exists(path: string): Promise<boolean> {
  try {
    await Deno.lstat(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/** Writes a file atomically, readable only by its owner. */
export async function writePrivate(path: string, text: string): Promise<void> {
  await Deno.writeTextFile(`${path}.new`, text, { mode: 0o600 });
  await Deno.rename(`${path}.new`, path);
}

/** Removes a file or folder if it exists. */
export async function removeIfThere(path: string): Promise<void> {
  await Deno.remove(path, { recursive: true }).catch((error) => {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  });
}
