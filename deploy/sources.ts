/** The files that a deployment uploads (migrations, functions, models), from the checkout or from the published package. */
import { existsSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** `cli/build.ts` copies the files into `files/` next to the bundle. */
const candidates = ["./files/", "../"].map((path) => fileURLToPath(new URL(path, import.meta.url)));

/** A command as the user runs it: with `task` in a checkout, with `tunebase` in the published package. */
export const commandLine = (command: string): string =>
  existsSync(candidates[0] ?? "") ? `tunebase ${command}` : `npx -y deno@2.9.6 task ${command}`;

/** The folder that holds `supabase/` and `models/`. */
export function sourceRoot(): string {
  const found = candidates.find((folder) => existsSync(join(folder, "supabase/migrations")));
  if (found === undefined) {
    throw new Error("This installation of the CLI lacks the files to deploy. Install it again.");
  }
  return found;
}

export interface Migration {
  /** The 14 digits before the first underscore. */
  version: string;
  name: string;
  sql: string;
}

/** All migrations, oldest first. */
export async function migrations(): Promise<Migration[]> {
  const folder = join(sourceRoot(), "supabase/migrations");
  const files = (await readdir(folder)).filter((file) => file.endsWith(".sql")).sort();
  return await Promise.all(files.map(async (file) => {
    const [, version = "", name = ""] = /^(\d{14})_(.*)\.sql$/.exec(file) ?? [];
    return { version, name, sql: await readFile(join(folder, file), "utf8") };
  }));
}

export const functionSlugs = ["tunebase", "tunebase-callback", "tunebase-scheduler"] as const;
export type FunctionSlug = typeof functionSlugs[number];

export interface SourceFile {
  /** Relative to the root, with `/`: `supabase/functions/tunebase/index.ts`. */
  path: string;
  content: Uint8Array<ArrayBuffer>;
}

/** A function's files: its folder, the shared code, and the import map. Sorted by path. */
export async function functionFiles(slug: FunctionSlug): Promise<SourceFile[]> {
  const root = sourceRoot();
  const folders = [`supabase/functions/${slug}`, "supabase/functions/_shared"];
  const paths = (await Promise.all(
    folders.map(async (folder) =>
      (await readdir(join(root, folder), { recursive: true, withFileTypes: true }))
        .filter((entry) => entry.isFile() && /\.(ts|json)$/.test(entry.name))
        .map((entry) => join(entry.parentPath, entry.name).slice(root.length).replaceAll("\\", "/"))
    ),
  )).flat();
  return await Promise.all(
    [...paths, "import_map.json"].sort().map(async (path) => ({
      path,
      content: new Uint8Array(await readFile(join(root, path))),
    })),
  );
}

/** `supabase/uninstall.sql`. */
export const uninstallSql = (): Promise<string> =>
  readFile(join(sourceRoot(), "supabase/uninstall.sql"), "utf8");
