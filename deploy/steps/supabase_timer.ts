/** The timer: pg_cron calls the scheduler's URL with a derived secret; both are in Vault. */
import * as z from "zod";
import { deriveSecret } from "../../supabase/functions/_shared/secrets.ts";
import type { Change, Context, Step } from "../step.ts";
import { hasRelation } from "../database.ts";
import { masterKeyIfAny } from "./supabase_master_key.ts";

/** As `supabase/migrations/20261130000200_platform.sql` schedules them where the extensions exist. */
export const cronJobs = {
  "tunebase-tick": ["10 seconds", "select tunebase_internal.wake_scheduler()"],
  "tunebase-spend": ["30 seconds", "select tunebase_internal.enforce_spend()"],
  "tunebase-prune": ["17 * * * *", "select tunebase_internal.prune_cron_runs()"],
} as const;
const jobNames = Object.keys(cronJobs).map((name) => `'${name}'`).join(", ");
const secretNames = "'tunebase_scheduler_url', 'tunebase_scheduler_secret'";

export const supabaseTimer: Step = {
  id: "supabase-timer",
  title: "Timer",
  // Jobs must not fail because their endpoint is gone.
  removedFirst: true,
  async plan(context) {
    const { secrets, cron } = context.state.project === null
      ? { secrets: ["tunebase_scheduler_url", "tunebase_scheduler_secret"], cron: Object.keys(cronJobs) }
      : await differences(context, await masterKeyIfAny(context));
    const changes: Change[] = [];
    if (secrets.length > 0) changes.push({ action: "update", what: `Vault secrets ${secrets.join(", ")}` });
    if (cron.length > 0) changes.push({ action: "create", what: `cron jobs ${cron.join(", ")}` });
    return changes;
  },
  async apply(context) {
    const { supabase } = context;
    const { secrets, cron, disabled, values } = await differences(context, await context.masterKey());
    for (const name of secrets) {
      // As parameters, because the database's errors and logs quote statements.
      const [row] = await supabase.query(
        "select id from vault.secrets where name = $1",
        z.array(z.object({ id: z.string() })),
        [name],
      );
      if (row === undefined) {
        await supabase.execute("select vault.create_secret($1, $2)", [values[name], name]);
      } else await supabase.execute("select vault.update_secret($1, $2)", [row.id, values[name]]);
    }
    // Scheduling a job that exists does not activate it.
    for (const id of disabled) await supabase.execute("select cron.alter_job($1, active := true)", [id]);
    for (const [name, [schedule, command]] of Object.entries(cronJobs)) {
      if (!cron.includes(name)) continue;
      await supabase.execute("select cron.schedule($1, $2, $3)", [name, schedule, command]);
    }
  },
  async planRemoval(context) {
    if (!await hasRelation(context.supabase, "cron.job")) return [];
    const rows = await context.supabase.query(
      `select jobname from cron.job where jobname in (${jobNames})`,
      z.array(z.object({ jobname: z.string() })),
    );
    return rows.length === 0
      ? []
      : [{ action: "delete", what: `cron jobs ${rows.map(({ jobname }) => jobname).join(", ")}` }];
  },
  async remove(context) {
    if (!await hasRelation(context.supabase, "cron.job")) return;
    // The cron jobs last: an interrupted removal continues as long as one exists.
    if (await hasRelation(context.supabase, "vault.decrypted_secrets")) {
      await context.supabase.execute(`delete from vault.secrets where name in (${secretNames})`);
    }
    await context.supabase.execute(
      `select cron.unschedule(jobname) from cron.job where jobname in (${jobNames})`,
    );
  },
};

/** The timer's entries in Vault: the address that pg_cron calls, and its secret. Unknown without a master key. */
export const vaultSecrets = (
  { target, state }: {
    target: Pick<Context["target"], "projectUrl">;
    state: Pick<Context["state"], "project">;
  },
  key: string | null,
): Record<string, string> => ({
  tunebase_scheduler_url: `${target.projectUrl(state.project ?? "")}/functions/v1/tunebase-scheduler/tick`,
  tunebase_scheduler_secret: key === null ? "" : deriveSecret(key, "scheduler"),
});

async function differences(context: Context, key: string | null) {
  const cron = await hasRelation(context.supabase, "cron.job")
    ? await context.supabase.query(
      "select jobid, jobname, schedule, command, active from cron.job",
      z.array(Job),
    )
    : [];
  const secrets = await hasRelation(context.supabase, "vault.decrypted_secrets")
    ? await context.supabase.query(
      `select name, decrypted_secret from vault.decrypted_secrets where name in (${secretNames})`,
      z.array(z.object({ name: z.string(), decrypted_secret: z.string() })),
    )
    : [];
  const values = vaultSecrets(context, key);
  return {
    values,
    secrets: Object.keys(values).filter((name) =>
      secrets.find((secret) => secret.name === name)?.decrypted_secret !== values[name]
    ),
    cron: Object.entries(cronJobs).filter(([name, [schedule, command]]) =>
      !cron.some((job) =>
        job.active && job.jobname === name && job.schedule === schedule && job.command === command
      )
    ).map(([name]) => name),
    disabled: cron.filter(({ active, jobname }) => !active && jobname !== null && jobname in cronJobs)
      .map(({ jobid }) => jobid),
  };
}

const Job = z.object({
  jobid: z.coerce.number(),
  jobname: z.string().nullable(),
  schedule: z.string(),
  command: z.string(),
  active: z.boolean(),
});
