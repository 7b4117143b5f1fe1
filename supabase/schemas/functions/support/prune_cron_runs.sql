-- Deletes our pg_cron runs that are older than a day. pg_cron logs every run forever: 11,500 per day for our jobs.
create function tunebase_internal.prune_cron_runs() returns bigint
language plpgsql security definer set search_path = ''
as $$
declare
  v_count bigint;
begin
  if to_regclass('cron.job_run_details') is null then
    return 0;
  end if;
  -- Leaves the host app's runs alone.
  execute $sql$
    delete from cron.job_run_details
    where jobid in (select jobid from cron.job where jobname like 'tunebase-%') and end_time < now() - interval '1 day'
  $sql$;
  get diagnostics v_count = row_count;
  return v_count;
end $$;
