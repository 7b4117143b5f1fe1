-- What clients read of a job while it runs and after: metrics for a chart, checkpoints, events as they come.

-- A job that the caller may read; refuses with job_not_found.
create function tunebase.own_job(p_caller jsonb, p_job_id uuid) returns public.jobs
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase.authorize(p_caller, 'jobs:read');
  v_job public.jobs;
begin
  select * into v_job from public.jobs where id = p_job_id and project_id = v_project_id;
  if not found then
    perform tunebase.refuse('job_not_found');
  end if;
  return v_job;
end $$;

-- A job's metrics over its whole run, with at most about p_points rows: where there are more, each bucket of steps keeps
-- the row with its lowest and the one with its highest loss, so that a chart shows every spike; the ends and every
-- validation are kept. Returns {points: [...], total}.
create function tunebase.job_metrics(
  p_caller jsonb, p_job_id uuid, p_points integer, p_from_step integer, p_to_step integer
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_job public.jobs := tunebase.own_job(p_caller, p_job_id);
  v_total bigint;
  v_first integer;
  v_last integer;
begin
  select count(*), min(step), max(step) into v_total, v_first, v_last
  from public.metrics
  where job_id = v_job.id and step between coalesce(p_from_step, 0) and coalesce(p_to_step, 2147483647);
  return jsonb_build_object('total', v_total, 'points', coalesce((
    with rows as (
      select m.*,
        -- Two rows a bucket, and as few buckets as that leaves.
        case when v_total > p_points then (step - v_first)::bigint * (p_points / 2) / (v_last - v_first + 1) else step end as bucket
      from public.metrics m
      where job_id = v_job.id and step between v_first and v_last
    ), ranked as (
      select *,
        row_number() over (partition by bucket order by training_loss, step) as low,
        row_number() over (partition by bucket order by training_loss desc nulls last, step) as high
      from rows
    )
    select jsonb_agg(
      to_jsonb(r) - 'job_id' - 'project_id' - 'created_at' - 'bucket' - 'low' - 'high' order by r.step
    )
    from ranked r
    where low = 1 or high = 1 or step in (v_first, v_last) or validation_loss is not null
  ), '[]'));
end $$;

create function tunebase.list_checkpoints(p_caller jsonb, p_job_id uuid, p_after uuid, p_limit integer) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_job public.jobs := tunebase.own_job(p_caller, p_job_id);
  v_rows jsonb;
begin
  if p_after is not null and not exists (select from public.checkpoints where id = p_after and job_id = v_job.id) then
    perform tunebase.refuse('cursor_not_found');
  end if;
  select jsonb_agg(to_jsonb(c) || jsonb_build_object('model', v_job.base_model) order by c.id desc) into v_rows from (
    select * from public.checkpoints
    where job_id = v_job.id and (p_after is null or id < p_after)
    order by id desc limit p_limit + 1
  ) c;
  return tunebase.page(v_rows, p_limit);
end $$;

-- Opens a stream: where it begins. p_after is the number of the last event that the client has.
create function tunebase.open_events(p_caller jsonb, p_job_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_job public.jobs := tunebase.own_job(p_caller, p_job_id);
begin
  return jsonb_build_object('job_id', v_job.id, 'last_event', v_job.last_event, 'final', tunebase.is_final(v_job.status));
end $$;

-- What came to many jobs since the events that their readers have: one call for all streams of a function. p_watched:
-- [{job_id, after}]. The callers were authorised when each stream was opened. At most 200 events a job; the rest comes
-- with the next call.
create function tunebase.events_after(p_watched jsonb) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select coalesce(jsonb_agg(jsonb_build_object(
    'job_id', w.job_id, 'events', e.events, 'final', tunebase.is_final(j.status), 'last_event', j.last_event
  )), '[]')
  from jsonb_to_recordset(p_watched) as w (job_id uuid, after integer)
  join public.jobs j on j.id = w.job_id and (j.last_event > w.after or tunebase.is_final(j.status))
  cross join lateral (
    select coalesce(jsonb_agg(to_jsonb(x) order by x.number), '[]') as events from (
      select * from public.events where job_id = w.job_id and number > w.after order by number limit 200
    ) x
  ) e
$$;

revoke execute on function
  tunebase.job_metrics(jsonb, uuid, integer, integer, integer),
  tunebase.own_job(jsonb, uuid),
  tunebase.list_checkpoints(jsonb, uuid, uuid, integer),
  tunebase.open_events(jsonb, uuid),
  tunebase.events_after(jsonb)
from public;
grant execute on function
  tunebase.job_metrics(jsonb, uuid, integer, integer, integer),
  tunebase.list_checkpoints(jsonb, uuid, uuid, integer),
  tunebase.open_events(jsonb, uuid),
  tunebase.events_after(jsonb)
to tunebase_api;
