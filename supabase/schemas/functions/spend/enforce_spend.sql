-- The watchdog: updates the cost of running jobs and enforces the caps. Returns how many jobs it failed. claim_dispatch
-- already limits each attempt's execution timeout to its caps; the watchdog also covers prices and caps that change.
create function tunebase_internal.enforce_spend() returns integer
language plpgsql security definer set search_path = ''
as $$
declare
  v_job tunebase.jobs;
  v_project tunebase.projects;
  v_id uuid;
  v_failed integer := 0;
begin
  -- Locks the job first, like every transition.
  for v_id in
    select j.id from tunebase.jobs j
    join tunebase.projects p on p.id = j.project_id
    where j.status = 'running' and (j.spend_cap_usd is not null or p.spend_cap_usd is not null)
      -- A free GPU costs nothing.
      and exists (
        select from tunebase.attempts a
        where a.job_id = j.id and a.state = 'running' and (a.gpu_config ->> 'cost_per_gpu_hour')::numeric > 0
      )
    order by j.id
  loop
    select * into v_job from tunebase.jobs where id = v_id and status = 'running' for no key update;
    continue when not found;
    perform tunebase_internal.update_attempt_cost(a.id) from tunebase.attempts a where a.job_id = v_id and a.state = 'running';
    select * into v_job from tunebase.jobs where id = v_id;
    if v_job.spend_cap_usd is not null and tunebase_internal.enforce_job_cap(v_job) then
      v_failed := v_failed + 1;
    end if;
  end loop;
  for v_project in
    select p.* from tunebase.projects p
    where p.spend_cap_usd is not null
      and exists (select from tunebase.jobs j where j.project_id = p.id and j.status in ('queued', 'running'))
      -- Skips the many projects that are far from their cap.
      and 0.8 * p.spend_cap_usd <= (
        select sum(cost_usd) from tunebase.attempts a
        where a.project_id = p.id and a.started_at >= date_trunc('month', now() at time zone 'utc') at time zone 'utc'
      )
  loop
    v_failed := v_failed + tunebase_internal.enforce_project_cap(v_project);
  end loop;
  return v_failed;
end $$;
