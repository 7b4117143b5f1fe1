-- One row per day from p_from through p_to in p_time_zone: jobs by the day they were created and the day they finished,
-- trained tokens by the day the job finished, GPU time and cost by the day the attempt started (like the monthly spend cap),
-- inference by the day the request started.
-- Raises invalid_time_zone.
create function tunebase_internal.get_usage_by_day(p_caller jsonb, p_from date, p_to date, p_time_zone text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'jobs:read');
  v_range constant tstzrange := tunebase_internal.days_to_range(p_from, p_to, p_time_zone);
  v_begin constant timestamptz := lower(v_range);
  v_end constant timestamptz := upper(v_range);
begin
  return (
    with created as (
      select (created_at at time zone p_time_zone)::date as day, count(*) as jobs
      from tunebase.jobs
      where project_id = v_project_id
        -- A job's id is generated some milliseconds after its created_at, the transaction's start.
        and id >= tunebase_internal.uuid7_lower_bound(v_begin) and id < tunebase_internal.uuid7_lower_bound(v_end + interval '1 minute')
        and created_at >= v_begin and created_at < v_end
      group by 1
    ), ended as (
      select (finished_at at time zone p_time_zone)::date as day,
        count(*) filter (where status = 'succeeded') as succeeded,
        count(*) filter (where status = 'failed') as failed,
        count(*) filter (where status = 'cancelled') as cancelled,
        sum(trained_tokens) as tokens
      from tunebase.jobs
      where project_id = v_project_id and finished_at >= v_begin and finished_at < v_end
      group by 1
    ), spent as (
      select (started_at at time zone p_time_zone)::date as day,
        sum(extract(epoch from coalesce(ended_at, now()) - started_at) * (gpu_config ->> 'num_gpus')::numeric) as seconds,
        sum(cost_usd) as cost
      from tunebase.attempts
      where project_id = v_project_id and started_at >= v_begin and started_at < v_end
      group by 1
    ), called as (
      select (quarter_hour at time zone p_time_zone)::date as day, sum(requests) as requests,
        sum(prompt_tokens) as prompt, sum(completion_tokens) as completion, sum(cost_usd) as cost
      from tunebase.inference_usage
      where project_id = v_project_id and quarter_hour >= v_begin and quarter_hour < v_end
      group by 1
    )
    select jsonb_agg(jsonb_build_object(
      'date', d.day, 'jobs_created', coalesce(c.jobs, 0), 'jobs_succeeded', coalesce(e.succeeded, 0),
      'jobs_failed', coalesce(e.failed, 0), 'jobs_cancelled', coalesce(e.cancelled, 0),
      'trained_tokens', coalesce(e.tokens, 0), 'gpu_seconds', round(coalesce(s.seconds, 0), 3),
      'cost_usd', coalesce(s.cost, 0), 'inference_requests', coalesce(i.requests, 0),
      'prompt_tokens', coalesce(i.prompt, 0), 'completion_tokens', coalesce(i.completion, 0),
      'inference_cost_usd', coalesce(i.cost, 0)
    ) order by d.day)
    from (select generate_series(p_from::timestamp, p_to::timestamp, '1 day')::date as day) d
    left join created c on c.day = d.day
    left join ended e on e.day = d.day
    left join spent s on s.day = d.day
    left join called i on i.day = d.day
  );
end $$;
