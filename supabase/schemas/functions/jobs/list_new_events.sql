-- New events of many jobs: one call for all streams of an isolate. p_watched: [{job_id, after}]. Callers were authorized when
-- each stream opened. At most 200 events per job; the next call returns the rest.
create function tunebase_internal.list_new_events(p_watched jsonb) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select coalesce(jsonb_agg(jsonb_build_object(
    'job_id', w.job_id, 'events', e.events, 'final', tunebase_internal.is_terminal(j.status), 'last_event', j.last_event
  )), '[]')
  from jsonb_to_recordset(p_watched) as w (job_id uuid, after integer)
  join tunebase.jobs j on j.id = w.job_id and (j.last_event > w.after or tunebase_internal.is_terminal(j.status))
  cross join lateral (
    select coalesce(jsonb_agg(to_jsonb(x) order by x.number), '[]') as events from (
      select * from tunebase.events where job_id = w.job_id and number > w.after order by number limit 200
    ) x
  ) e
$$;
