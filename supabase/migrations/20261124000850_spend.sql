-- A spend cap is a cap: what passes it is failed here, with neither trainer nor client to help. Called by every tick of
-- the scheduler, and by pg_cron itself where that is there.

-- Warns one job of its cap at 80 %, and fails it at 100 %. Call it with the job locked.
create function tunebase.enforce_job_cap(p_job public.jobs) returns boolean
language plpgsql set search_path = ''
as $$
begin
  if p_job.cost_usd >= p_job.spend_cap_usd then
    perform tunebase.fail_job(
      p_job.id, 'spend_cap',
      format('The job has cost %s USD, which is its spend cap of %s USD.', round(p_job.cost_usd, 2), round(p_job.spend_cap_usd, 2)),
      'Its newest checkpoint is kept. Create the job again with a higher spend_cap_usd.'
    );
    perform tunebase.unwant_attempts(p_job.id);
    return true;
  end if;
  if p_job.cost_usd >= 0.8 * p_job.spend_cap_usd and p_job.budget_warned_at is null then
    update public.jobs set budget_warned_at = now() where id = p_job.id;
    perform tunebase.add_event(p_job.id, 'warn', format(
      'The job has cost %s USD, 80 %% of its spend cap of %s USD.', round(p_job.cost_usd, 2), round(p_job.spend_cap_usd, 2)
    ));
  end if;
  return false;
end $$;

-- Fails every job of a project that has passed its cap for the month, before another GPU is paid for; warns those that
-- run at 80 %.
create function tunebase.enforce_project_cap(p_project public.projects) returns integer
language plpgsql set search_path = ''
as $$
declare
  v_month date := date_trunc('month', now() at time zone 'utc')::date;
  v_spent numeric;
  v_job_id uuid;
  v_failed integer := 0;
begin
  select coalesce(sum(cost_usd), 0) into v_spent from public.attempts
  where project_id = p_project.id and started_at >= v_month::timestamp at time zone 'utc';
  if v_spent < 0.8 * p_project.spend_cap_usd
    or (v_spent < p_project.spend_cap_usd and p_project.budget_warned_month is not distinct from v_month) then
    return 0;
  end if;
  for v_job_id in
    select id from public.jobs
    where project_id = p_project.id
      and (status = 'running' or (status = 'queued' and v_spent >= p_project.spend_cap_usd))
    order by id for no key update
  loop
    if v_spent >= p_project.spend_cap_usd then
      perform tunebase.fail_job(
        v_job_id, 'spend_cap',
        format('The project has spent %s USD this month, which is its spend cap of %s USD.',
          round(v_spent, 2), round(p_project.spend_cap_usd, 2)),
        'The newest checkpoint is kept. The project''s owner can raise the cap; then create the job again.'
      );
      perform tunebase.unwant_attempts(v_job_id);
      v_failed := v_failed + 1;
    else
      update public.jobs set budget_warned_at = now() where id = v_job_id;
      perform tunebase.add_event(v_job_id, 'warn', format(
        'The project has spent %s USD this month, 80 %% of its spend cap of %s USD.',
        round(v_spent, 2), round(p_project.spend_cap_usd, 2)
      ));
    end if;
  end loop;
  update public.projects set budget_warned_month = v_month
  where id = p_project.id and v_spent >= 0.8 * spend_cap_usd;
  return v_failed;
end $$;

-- Counts what runs and enforces the caps. Returns how many jobs it failed.
create function tunebase.enforce_spend() returns integer
language plpgsql security definer set search_path = ''
as $$
declare
  v_job public.jobs;
  v_project public.projects;
  v_id uuid;
  v_failed integer := 0;
begin
  -- One at a time: each job's row is locked in the order that every other move has, its own first.
  for v_id in
    select j.id from public.jobs j
    join public.projects p on p.id = j.project_id
    where j.status = 'running' and (j.spend_cap_usd is not null or p.spend_cap_usd is not null)
    order by j.id
  loop
    select * into v_job from public.jobs where id = v_id and status = 'running' for no key update;
    continue when not found;
    perform tunebase.settle_cost(a.id) from public.attempts a where a.job_id = v_id and a.state = 'running';
    select * into v_job from public.jobs where id = v_id;
    if v_job.spend_cap_usd is not null and tunebase.enforce_job_cap(v_job) then
      v_failed := v_failed + 1;
    end if;
  end loop;
  for v_project in
    select p.* from public.projects p
    where p.spend_cap_usd is not null
      and exists (select from public.jobs j where j.project_id = p.id and j.status in ('queued', 'running'))
  loop
    v_failed := v_failed + tunebase.enforce_project_cap(v_project);
  end loop;
  return v_failed;
end $$;
