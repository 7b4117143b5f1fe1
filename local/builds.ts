/** What builds share: a hash of their inputs, and a lock. */
import { createHash } from "node:crypto";
import { join } from "./paths.ts";
import { cache, root } from "./state_dir.ts";

/** A hash of files, and of those in folders, under the root, without entries of these names. */
export async function fingerprint(inputs: string[], without: string[] = []): Promise<string> {
  const hash = createHash("sha256");
  const add = async (path: string): Promise<void> => {
    const { isDirectory } = await Deno.stat(path);
    if (!isDirectory) {
      hash.update(`${path.slice(root.length)}\0`).update(await Deno.readFile(path));
      return;
    }
    const names = (await Array.fromAsync(Deno.readDir(path), ({ name }) => name)).sort();
    for (const name of names) if (!without.includes(name)) await add(join(path, name));
  };
  for (const name of inputs) await add(join(root, name));
  return hash.digest("hex");
}

/** Runs `work` while no other process runs any under the same name. */
export async function locked(name: string, work: () => Promise<void>): Promise<void> {
  await Deno.mkdir(cache, { recursive: true, mode: 0o700 });
  using file = await Deno.open(join(cache, `${name}.lock`), { create: true, write: true });
  await file.lock(true); // until it is closed
  await work();
}
