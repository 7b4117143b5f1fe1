-- A project's spending this month (UTC), plus what its unfinished jobs may still cost.
create function tunebase_internal.project_spend(p_project_id uuid) returns numeric
language sql stable set search_path = ''
as $$
  select coalesce((
    select sum(cost_usd) from tunebase.attempts
    where project_id = p_project_id and started_at >= date_trunc('month', now() at time zone 'utc') at time zone 'utc'
  ), 0) + coalesce((
    select sum(greatest(reserved_usd - cost_usd, 0)) from tunebase.jobs
    where project_id = p_project_id and tunebase_internal.is_open(status)
  ), 0)
$$;
