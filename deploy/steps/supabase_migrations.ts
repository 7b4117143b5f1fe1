/** The database migrations, recorded where `supabase db push` records them. */
import { randomBytes } from "node:crypto";
import { appliedMigrations } from "../database.ts";
import { DeployError } from "../errors.ts";
import { PlatformError } from "../platforms/request.ts";
import { type Migration, migrations } from "../sources.ts";
import type { Context, Step } from "../step.ts";

export const supabaseMigrations: Step = {
  id: "supabase-migrations",
  title: "Database migrations",
  async plan(context) {
    const pending = context.state.project === null ? await migrations() : await pendingMigrations(context);
    return pending.map(({ version, name }) => ({ action: "create", what: `migration ${version}_${name}` }));
  },
  async apply(context) {
    for (const migration of await pendingMigrations(context)) {
      try {
        await context.supabase.execute(withRecord(migration));
      } catch (error) {
        // Without a response, it may have been applied. The next run detects that.
        if (!(error instanceof PlatformError) || error.status === 0) throw error;
        throw new DeployError(
          `Migration ${migration.version}_${migration.name} failed and was rolled back: ${error.message}`,
          "Fix the problem in the message, then run the command again.",
        );
      }
    }
  },
};

/** The migrations that are not applied yet. */
async function pendingMigrations({ supabase }: Context): Promise<Migration[]> {
  const applied = await appliedMigrations(supabase);
  return (await migrations()).filter(({ version }) => !applied.includes(version));
}

/** Applies the migration and records it, in one transaction. */
function withRecord({ version, name, sql }: Migration): string {
  const quote = `$m${randomBytes(6).toString("hex")}$`;
  return `begin;
${sql}
;create schema if not exists supabase_migrations;
create table if not exists supabase_migrations.schema_migrations (
  version text not null primary key, statements text[], name text
);
insert into supabase_migrations.schema_migrations (version, name, statements)
values ('${version}', '${name}', array[${quote}${sql}${quote}]);
commit;`;
}
