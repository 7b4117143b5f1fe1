-- Appends to a job's log. Numbers have no gaps because taking one updates the job's row.
create function tunebase_internal.add_event(
  p_job_id uuid, p_level text, p_message text, p_type text default 'message', p_data jsonb default null
) returns void
language plpgsql set search_path = ''
as $$
begin
  with numbered as (
    update tunebase.jobs set last_event = last_event + 1 where id = p_job_id returning id, project_id, last_event
  )
  insert into tunebase.events (job_id, project_id, number, level, type, message, data)
  select id, project_id, last_event, p_level, p_type, p_message, p_data from numbered;
end $$;
