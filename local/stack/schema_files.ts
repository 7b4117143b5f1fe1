/** `supabase/schemas/`: the database, one object per file, in config.toml's order. */
import postgres from "postgres";
import { parse } from "smol-toml";
import * as z from "zod";
import { root } from "../state_dir.ts";
import { join } from "../paths.ts";

const Config = z.object({ db: z.object({ migrations: z.object({ schema_paths: z.array(z.string()) }) }) });

/** The schema files in load order. A pattern excludes files that an earlier line names; matches are sorted by path. */
export async function schemaFiles(): Promise<string[]> {
  const folder = join(root, "supabase");
  const { db } = Config.parse(parse(await Deno.readTextFile(join(folder, "config.toml"))));
  const all = (await sqlFiles(join(folder, "schemas"))).sort();
  const found = new Set<string>();
  for (const pattern of db.migrations.schema_paths) {
    const path = join(folder, pattern);
    const matches = new RegExp(`^${path.replace(/[.+?^${}()|[\]\\]/g, "\\$&").replaceAll("*", "[^/]*")}$`);
    const named = all.filter((file) => matches.test(file));
    if (named.length === 0) throw new Error(`supabase/config.toml: schema_paths: ${pattern} names no file`);
    for (const file of named) found.add(file);
  }
  const left = all.filter((file) => !found.has(file));
  if (left.length > 0) throw new Error(`supabase/config.toml: schema_paths does not name ${left.join(", ")}`);
  return [...found];
}

/** Applies the schema files to an empty database, as the CLI does: bodies are not checked until all objects exist. */
export async function applySchemas(url: string): Promise<void> {
  const sql = postgres(url, { max: 1, onnotice: () => {} });
  try {
    await sql.unsafe("set check_function_bodies = off");
    for (const file of await schemaFiles()) {
      await sql.unsafe(await Deno.readTextFile(file)).catch((error) => {
        throw new Error(`${file}: ${error instanceof Error ? error.message : error}`, { cause: error });
      });
    }
  } finally {
    await sql.end();
  }
}

async function sqlFiles(folder: string): Promise<string[]> {
  const found: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(folder)) {
    if (isDirectory) found.push(...await sqlFiles(join(folder, name)));
    else if (name.endsWith(".sql")) found.push(join(folder, name));
  }
  return found;
}

export const baselineFile = join(root, "supabase/migrations/20261130000100_tunebase.sql");

/**
 * The baseline migration: the schema files in load order. `task schema --baseline` writes it until the first release;
 * after that, every change is a separate migration.
 */
export async function baselineMigration(): Promise<string> {
  const head = "-- Generated from supabase/schemas/ by `deno task schema --baseline`.\n" +
    "-- Bodies are not checked until everything they name exists.\nset local check_function_bodies = off;\n";
  const parts = await Promise.all((await schemaFiles()).map(async (file) => {
    const name = file.slice(join(root, "supabase").length + 1);
    return `\n-- ${name}\n${await Deno.readTextFile(file)}`;
  }));
  return head + parts.join("");
}
