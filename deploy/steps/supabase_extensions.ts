/** The Postgres extensions: pg_cron and pg_net for the timer, Vault for its secrets. `destroy` leaves them to the host app. */
import { missingExtensions, requiredExtensions } from "../database.ts";
import type { Step } from "../step.ts";

export const supabaseExtensions: Step = {
  id: "supabase-extensions",
  title: "Postgres extensions",
  async plan(context) {
    const missing = context.state.project === null
      ? requiredExtensions
      : await missingExtensions(context.supabase);
    return missing.map((name) => ({ action: "create", what: `Postgres extension ${name}` }));
  },
  async apply(context) {
    for (const name of await missingExtensions(context.supabase)) {
      await context.supabase.execute(`create extension if not exists ${name}`);
    }
  },
};
