/**
 * `task cli`: bundles the CLI into one file for Node 20+, `cli/npm/tunebase.js`, with what `tunebase deploy` uploads next to it
 * in `cli/npm/files/`.
 */
import { functionSlugs } from "../deploy/sources.ts";
import { root } from "../local/state_dir.ts";
import { dirname } from "node:path";
import { join } from "../local/paths.ts";

/** Writes the bundle and returns its size in bytes. */
export async function buildCli(output: string): Promise<number> {
  const { success, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["bundle", "--quiet", "--platform", "deno", "--minify", "-o", output, "cli/main.ts"],
    cwd: root,
    stdin: "null",
  }).output();
  if (!success) {
    throw new Error(`Failed to bundle the CLI:\n${new TextDecoder().decode(stderr)}`);
  }
  // The source's shebang is for Deno.
  const code = (await Deno.readTextFile(output)).replace(/^#!.*\n/, "");
  await Deno.writeTextFile(output, `#!/usr/bin/env node\n${code}`);
  await Deno.chmod(output, 0o755);
  return (await Deno.stat(output)).size;
}

/** Copies what `deploy/sources.ts` and the catalog read. Replaces the folder; returns the number of files. */
export async function copyDeployFiles(folder: string): Promise<number> {
  await Deno.remove(folder, { recursive: true }).catch((error) => {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  });
  const paths = [
    "import_map.json",
    "supabase/uninstall.sql",
    ...await listFiles("supabase/migrations", /\.sql$/),
    ...await listFiles("models", /\.toml$/),
    ...(await Promise.all(
      [...functionSlugs, "_shared"].map((name) => listFiles(`supabase/functions/${name}`, /\.(ts|json)$/)),
    )).flat(),
  ];
  for (const path of paths) {
    const target = join(folder, path);
    await Deno.mkdir(dirname(target), { recursive: true });
    await Deno.copyFile(join(root, path), target);
  }
  return paths.length;
}

/** Paths below the root of the files in a folder. */
async function listFiles(folder: string, names: RegExp): Promise<string[]> {
  const paths: string[] = [];
  for await (const entry of Deno.readDir(join(root, folder))) {
    const path = `${folder}/${entry.name}`;
    if (entry.isDirectory) paths.push(...await listFiles(path, names));
    else if (names.test(entry.name)) paths.push(path);
  }
  return paths;
}

/** Builds everything that the npm package contains, in a folder such as `cli/npm`. */
export async function buildPackage(folder: string): Promise<void> {
  const bytes = await buildCli(join(folder, "tunebase.js"));
  const files = await copyDeployFiles(join(folder, "files"));
  await Deno.copyFile(join(root, "LICENSE"), join(folder, "LICENSE"));
  console.log(
    `${join(folder, "tunebase.js")} (${Math.round(bytes / 1000)} kB, and ${files} files to deploy)`,
  );
}

if (import.meta.main) await buildPackage(join(root, "cli/npm"));
