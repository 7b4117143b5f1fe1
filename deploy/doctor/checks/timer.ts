/** The timer: pg_cron calls the scheduler through pg_net, with an address and a secret from Vault. */
import * as z from "zod";
import { limits } from "../../../supabase/functions/_shared/contracts/limits.ts";
import { hasRelation } from "../../database.ts";
import { cronJobs, vaultSecrets } from "../../steps/supabase_timer.ts";
import { type Check, type CheckGroup, deployCommand, duration, failed, ok } from "../check.ts";
import type { Installation, SupabaseReader } from "../installation.ts";

export const timerChecks: CheckGroup = {
  id: "timer",
  async run(installation) {
    const { supabase } = installation;
    return await Promise.all([checkCron(supabase), checkVault(installation), checkTicks(installation)]);
  },
};

async function checkCron(supabase: SupabaseReader): Promise<Check> {
  if (!await hasRelation(supabase, "cron.job")) {
    return failed("cron", "pg_cron is not installed", `Set up the timer: ${deployCommand}`);
  }
  const jobs = await supabase.query(
    "select jobname, schedule from cron.job where active and jobname like 'tunebase-%' order by jobname",
    z.array(z.object({ jobname: z.string(), schedule: z.string() })),
  );
  const missing = Object.keys(cronJobs).filter((name) => !jobs.some(({ jobname }) => jobname === name));
  return missing.length === 0
    ? ok("cron", jobs.map(({ jobname, schedule }) => `${jobname} (${schedule})`).join(", "))
    : failed("cron", `missing or disabled: ${missing.join(", ")}`, `Schedule them: ${deployCommand}`);
}

async function checkVault(installation: Installation): Promise<Check> {
  const { supabase } = installation;
  const fix = `Store both again: ${deployCommand}`;
  if (!await hasRelation(supabase, "vault.decrypted_secrets")) {
    return failed("vault", "Vault is not installed", fix);
  }
  const rows = await supabase.query(
    "select name, decrypted_secret as value from vault.decrypted_secrets where name in ('tunebase_scheduler_url', 'tunebase_scheduler_secret')",
    z.array(z.object({ name: z.string(), value: z.string() })),
  );
  const wanted = vaultSecrets(installation, await installation.masterKey());
  const problems = Object.entries(wanted).flatMap(([name, value]) => {
    const found = rows.find((row) => row.name === name);
    return found === undefined ? [`${name} is missing`] : found.value === value ? [] : [`${name} is wrong`];
  });
  return problems.length === 0
    ? ok("vault", "the scheduler's address and secret are correct")
    : failed("vault", problems.join(", "), fix);
}

/** Waits, because a project that was just resumed or deployed has no tick yet. */
async function checkTicks({ supabase, tickWaitMs = 25_000 }: Installation): Promise<Check> {
  const deadline = Date.now() + tickWaitMs;
  let age = await tickAge(supabase);
  while ((age === null || age > limits.maxTickAgeSeconds) && Date.now() < deadline) {
    await new Promise((resolve) => setTimeout(resolve, 2000));
    age = await tickAge(supabase);
  }
  if (age !== null && age <= limits.maxTickAgeSeconds) {
    return ok("ticks", `the last one finished ${duration(age)} ago`);
  }
  const cause = await lastResponse(supabase);
  return failed(
    "ticks",
    age === null ? `none has finished yet${cause}` : `the last one finished ${duration(age)} ago${cause}`,
    "Queued jobs do not start without ticks. Fix cron, Vault and the function tunebase-scheduler first, then read its log.",
  );
}

/** Seconds since the last finished tick. null: there was none. */
async function tickAge(supabase: SupabaseReader): Promise<number | null> {
  const [tick] = await supabase.query(
    "select extract(epoch from now() - last_tick_at)::float8 as age from tunebase_internal.scheduler_ticks",
    z.array(z.object({ age: z.number() })),
  );
  return tick?.age ?? null;
}

/** pg_net's last response, as the end of a sentence. It keeps responses of all callers for six hours. */
async function lastResponse(supabase: SupabaseReader): Promise<string> {
  if (!await hasRelation(supabase, "net._http_response")) return "";
  const [last] = await supabase.query(
    "select status_code, error_msg from net._http_response order by id desc limit 1",
    z.array(z.object({ status_code: z.coerce.number().nullable(), error_msg: z.string().nullable() })),
  );
  if (last === undefined) return "; pg_net has sent no request";
  return last.error_msg === null
    ? `; pg_net's last request got ${last.status_code}`
    : `; pg_net's last request failed: ${last.error_msg}`;
}
