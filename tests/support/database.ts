/**
 * A database for a test file: made in milliseconds from a template in which the Supabase CLI has applied the
 * migrations. `task test` starts the server and names it in TUNEBASE_TEST_DB_URL; `task test FILE…` runs some files.
 */
import postgres from "postgres";

/** Password of the functions' roles, on a server that exists only during the run. */
export const rolePassword = "only-for-tests";
export const templateName = "tunebase_template";

export interface TestDatabase {
  /** As superuser: for setup and assertions. */
  sql: postgres.Sql;
  url(role: string): string;
  close(): Promise<void>;
}

/** Creates a database; close it at the end of the file. */
export async function testDatabase(): Promise<TestDatabase> {
  const server = Deno.env.get("TUNEBASE_TEST_DB_URL");
  if (!server) {
    throw new Error("Run tests with `npx -y deno@2.9.6 task test [FILE…]`: it starts the database they use.");
  }
  const name = `test_${crypto.randomUUID().replaceAll("-", "")}`;
  const admin = postgres(server, { max: 1, onnotice: () => {} });
  // Copying the files takes half the time of logging every page.
  await admin.unsafe(`create database ${name} template ${templateName} strategy file_copy`);
  const url = new URL(server);
  url.pathname = `/${name}`;
  const sql = postgres(url.href, { max: 4, onnotice: () => {} });
  return {
    sql,
    url: (role) => {
      const address = new URL(url);
      address.username = role;
      address.password = rolePassword;
      return address.href;
    },
    close: async () => {
      await sql.end({ timeout: 5 });
      await admin.unsafe(`drop database ${name} with (force)`);
      await admin.end({ timeout: 5 });
    },
  };
}
