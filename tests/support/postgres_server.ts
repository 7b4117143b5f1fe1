/** The Postgres server of the tests and simulations, in its own folder, with the template of every test database. */
import postgres from "postgres";
import { cache, root } from "../../local/state_dir.ts";
import { install } from "../../local/commands/install.ts";
import { migrate, prepareDatabase } from "../../local/stack/migrate.ts";
import { join } from "../../local/paths.ts";
import { type Postgres, startPostgres } from "../../local/stack/postgres.ts";
import { endLeftovers } from "../../local/stack/processes.ts";
import { rolePassword, templateName } from "./database.ts";

/** The data need not survive a crash of the machine, and several test files connect at the same time. */
const parameters = {
  fsync: "off",
  synchronous_commit: "off",
  full_page_writes: "off",
  // A group of test files keeps its connections until its end.
  max_connections: "500",
  // Password checks, and autovacuum of databases that are soon dropped, cost more than most tests' queries.
  scram_iterations: "64",
  autovacuum_naptime: "10min",
};

/** Installs missing tools and starts the server in `.tunebase/<name>`; `template` is the URL of the template database. */
export async function startTestPostgres(name: string): Promise<Postgres & { template: string }> {
  const home = join(cache, name);
  await install((line) => console.log(line));
  await Deno.mkdir(home, { recursive: true });
  await endLeftovers(home);
  const server = await startPostgres({ home, port: 0, password: rolePassword, parameters });
  try {
    return { ...server, template: await makeTemplate(server.url) };
  } catch (error) {
    await server.stop();
    throw error;
  }
}

/** The database that every test database is copied from. */
async function makeTemplate(url: string): Promise<string> {
  const admin = postgres(url, { max: 1, onnotice: () => {} });
  try {
    await admin.unsafe(`drop database if exists ${templateName} with (force)`);
    await admin.unsafe(`create database ${templateName}`);
    const address = new URL(url);
    address.pathname = `/${templateName}`;
    await prepareDatabase(address.href);
    await migrate(address.href);
    const sql = postgres(address.href, { max: 1, onnotice: () => {} });
    await sql.unsafe(await Deno.readTextFile(join(root, "supabase/seed.sql")));
    for (const role of ["tunebase_api", "tunebase_callback", "tunebase_scheduler"]) {
      await sql.unsafe(`alter role ${role} login password '${rolePassword}'`);
    }
    await sql.end();
    return address.href;
  } finally {
    await admin.end();
  }
}
