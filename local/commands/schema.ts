/**
 * `task schema NAME`: writes the migration from the current migrations to supabase/schemas/. The diff comes from the
 * Supabase CLI (pg-delta); review it before you commit it.
 */
import postgres from "postgres";
import { cache, root } from "../state_dir.ts";
import { install } from "./install.ts";
import { migrate, prepareDatabase, supabaseCli } from "../stack/migrate.ts";
import { join, removeIfThere } from "../paths.ts";
import { postgresDirectory, startPostgres } from "../stack/postgres.ts";
import { applySchemas, baselineFile, baselineMigration } from "../stack/schema_files.ts";

const help = `Writes a migration from what changed in supabase/schemas/.

  npx -y deno@2.9.6 task schema NAME         supabase/migrations/<time>_NAME.sql, or nothing if they agree
  npx -y deno@2.9.6 task schema --baseline   rewrites the baseline; only before the first release`;

/** Two databases on one server: \`migrations\` and \`schemas\`. Returns the statements that migrate one to the other. */
export async function schemaDiff(server: string): Promise<string> {
  const admin = postgres(server, { max: 1, onnotice: () => {} });
  const url = (name: string) => {
    const address = new URL(server);
    address.pathname = `/${name}`;
    return address.href;
  };
  try {
    for (const name of ["diff_migrations", "diff_schemas"]) {
      await admin.unsafe(`drop database if exists ${name} with (force)`);
      await admin.unsafe(`create database ${name}`);
      await prepareDatabase(url(name));
    }
    await migrate(url("diff_migrations"));
    await applySchemas(url("diff_schemas"));
    const text = await supabaseCli([
      "db",
      "diff",
      "--use-pg-delta",
      "--from",
      `${url("diff_migrations")}?sslmode=disable`,
      "--to",
      `${url("diff_schemas")}?sslmode=disable`,
      "--schema",
      "tunebase,tunebase_internal",
    ]);
    for (const name of ["diff_migrations", "diff_schemas"]) {
      await admin.unsafe(`drop database ${name} with (force)`);
    }
    return text.trim();
  } finally {
    await admin.end();
  }
}

if (import.meta.main) {
  const [name, ...rest] = Deno.args;
  if (name === undefined || rest.length > 0 || !/^(--baseline|--help|[a-z][a-z0-9_]*)$/.test(name)) {
    console.error(`Name the change in lower case, such as add_job_priority.\n\n${help}`);
    Deno.exit(2);
  }
  if (name === "--help") {
    console.log(help);
  } else if (name === "--baseline") {
    await Deno.writeTextFile(baselineFile, await baselineMigration());
    console.log(`wrote ${baselineFile}`);
  } else {
    await writeMigration(name);
  }
}

async function writeMigration(name: string): Promise<void> {
  await install((line) => console.log(line));
  const home = join(cache, "schema");
  await Deno.mkdir(home, { recursive: true });
  const server = await startPostgres({ home, port: 0, password: "schema" });
  try {
    const text = await schemaDiff(server.url);
    if (text === "") {
      console.log("supabase/migrations already matches supabase/schemas.");
      return;
    }
    const time = new Date().toISOString().replace(/\D/g, "").slice(0, 14);
    const path = join(root, `supabase/migrations/${time}_${name}.sql`);
    await Deno.writeTextFile(path, `${text}\n`);
    console.log(`wrote ${path}. Read it before you commit it.`);
  } finally {
    await server.stop();
    await removeIfThere(await postgresDirectory(home));
    await removeIfThere(home);
  }
}
