/** The Postgres extensions: pg_cron and pg_net for the timer, Vault for its secrets. `destroy` leaves them to the host app. */
import * as z from "zod";
import type { Context, Step } from "../step.ts";

const wanted = ["pg_cron", "pg_net", "supabase_vault"] as const;

export const supabaseExtensions: Step = {
  id: "supabase-extensions",
  title: "Postgres extensions",
  async plan(context) {
    const missing = context.state.project === null ? wanted : await missingExtensions(context);
    return missing.map((name) => ({ action: "create", what: `Postgres extension ${name}` }));
  },
  async apply(context) {
    for (const name of await missingExtensions(context)) {
      await context.supabase.execute(`create extension if not exists ${name}`);
    }
  },
};

async function missingExtensions({ supabase }: Context): Promise<string[]> {
  const present = await supabase.query(
    "select extname from pg_catalog.pg_extension",
    z.array(z.object({ extname: z.string() })),
  );
  return wanted.filter((name) => !present.some(({ extname }) => extname === name));
}
