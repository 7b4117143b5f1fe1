/** Prepares a database as the platform would, and applies the migrations with the Supabase CLI itself. */
import postgres from "postgres";
import { cache, root } from "../state_dir.ts";
import { join } from "../paths.ts";
import type { Keys } from "./keys.ts";

/** The roles and schemas that a Supabase project comes with. Safe to run again. */
export async function prepareDatabase(url: string): Promise<void> {
  const sql = postgres(url, { max: 1, onnotice: () => {} });
  try {
    for (
      const file of [
        "stack/supabase.sql",
        "emulators/auth/schema.sql",
        "emulators/storage/schema.sql",
      ]
    ) {
      await sql.unsafe(await Deno.readTextFile(join(root, "local", file)));
    }
  } finally {
    await sql.end();
  }
}

/** Runs the Supabase CLI; returns what it wrote to stdout. Throws with its output when it fails. */
export async function supabaseCli(args: string[]): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(
    join(cache, "tools/node_modules/.bin/supabase"),
    {
      args,
      cwd: root,
      env: { DO_NOT_TRACK: "1", SUPABASE_NO_UPDATE_NOTIFIER: "1" },
      stdin: "null",
    },
  ).output();
  const text = new TextDecoder();
  if (!success) {
    throw new Error(`supabase ${args[0]} ${args[1]} failed:\n${text.decode(stdout)}${text.decode(stderr)}`);
  }
  return text.decode(stdout);
}

/** `supabase db push`: applies new migrations. */
export async function migrate(url: string): Promise<void> {
  await supabaseCli(["db", "push", `--remote=${url}?sslmode=disable`, "--yes"]);
}

/** Migrations, seed, and the passwords of the functions' roles. Safe to run again. */
export async function prepareTunebase(url: string, keys: Keys): Promise<void> {
  await migrate(url);
  const sql = postgres(url, { max: 1, onnotice: () => {} });
  try {
    await sql.unsafe(await Deno.readTextFile(join(root, "supabase/seed.sql")));
    for (const role of ["tunebase_api", "tunebase_callback", "tunebase_scheduler"] as const) {
      // A password cannot be a parameter; ours is base64url.
      await sql.unsafe(`alter role ${role} login password '${keys.passwords[role]}'`);
    }
  } finally {
    await sql.end();
  }
}
