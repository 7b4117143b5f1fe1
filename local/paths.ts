/** Paths, by Node's own library: Deno's is not on npm. */
import { isAbsolute, join as joinParts } from "node:path";
import { fileURLToPath } from "node:url";

/** Joins; an absolute part begins anew, as `cd` would. */
export function join(first: string, ...parts: string[]): string {
  return parts.reduce((path, part) => isAbsolute(part) ? part : joinParts(path, part), first);
}

/** A file URL as a path. */
export const fromFileUrl = (url: URL): string => fileURLToPath(url);

/** Is there something at this path? */
export async function exists(path: string): Promise<boolean> {
  try {
    await Deno.lstat(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/** Writes a file whole or not at all, readable by its owner alone. */
export async function writePrivate(path: string, text: string): Promise<void> {
  await Deno.writeTextFile(`${path}.new`, text, { mode: 0o600 });
  await Deno.rename(`${path}.new`, path);
}

/** Removes a file or folder, if it is there. */
export async function removeIfThere(path: string): Promise<void> {
  await Deno.remove(path, { recursive: true }).catch((error) => {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  });
}
