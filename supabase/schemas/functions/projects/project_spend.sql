-- A project's spending this month (UTC), plus what its unfinished jobs and open inference requests may still cost. plpgsql, because it caches its plans.
create function tunebase_internal.project_spend(p_project_id uuid) returns numeric
language plpgsql stable set search_path = ''
as $$
declare
  v_month constant timestamptz := date_trunc('month', now() at time zone 'utc') at time zone 'utc';
begin
  return coalesce((
    select sum(cost_usd) from tunebase.attempts where project_id = p_project_id and started_at >= v_month
  ), 0) + coalesce((
    -- As in the index jobs_reserved: jobs that cost nothing are not counted, however many there are.
    select sum(greatest(reserved_usd - cost_usd, 0)) from tunebase.jobs
    where project_id = p_project_id and tunebase_internal.is_open(status) and reserved_usd > 0
  ), 0) + tunebase_internal.inference_spend(p_project_id) + coalesce((
    select sum(reserved_usd) from tunebase.inference_requests
    where project_id = p_project_id and status = 'open' and reserved_usd > 0
  ), 0);
end $$;
