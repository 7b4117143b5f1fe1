-- At a project's monthly cap, fails its queued and running jobs. At 80%, warns the running ones.
create function tunebase_internal.enforce_project_cap(p_project tunebase.projects) returns integer
language plpgsql set search_path = ''
as $$
declare
  v_month date := date_trunc('month', now() at time zone 'utc')::date;
  v_spent numeric;
  v_job_id uuid;
  v_failed integer := 0;
begin
  select coalesce(sum(cost_usd), 0) + tunebase_internal.inference_spend(p_project.id) into v_spent from tunebase.attempts
  where project_id = p_project.id and started_at >= v_month::timestamp at time zone 'utc';
  if v_spent < 0.8 * p_project.spend_cap_usd
    or (v_spent < p_project.spend_cap_usd and p_project.budget_warned_month is not distinct from v_month) then
    return 0;
  end if;
  for v_job_id in
    select id from tunebase.jobs
    where project_id = p_project.id
      and (status = 'running' or (status = 'queued' and v_spent >= p_project.spend_cap_usd))
    order by id for no key update
  loop
    if v_spent >= p_project.spend_cap_usd then
      perform tunebase_internal.fail_job(
        v_job_id, 'spend_cap',
        format('The project has spent %s USD this month and reached its spend cap of %s USD.',
          round(v_spent, 2), round(p_project.spend_cap_usd, 2)),
        'The newest checkpoint is kept. Ask a project owner to raise the cap, then create the job again.'
      );
      perform tunebase_internal.request_attempt_cancellation(v_job_id);
      v_failed := v_failed + 1;
    else
      update tunebase.jobs set budget_warned_at = now() where id = v_job_id;
      perform tunebase_internal.add_event(v_job_id, 'warn', format(
        'The project has spent %s USD this month, 80%% of its spend cap of %s USD.',
        round(v_spent, 2), round(p_project.spend_cap_usd, 2)
      ));
    end if;
  end loop;
  update tunebase.projects set budget_warned_month = v_month
  where id = p_project.id and v_spent >= 0.8 * spend_cap_usd;
  return v_failed;
end $$;
