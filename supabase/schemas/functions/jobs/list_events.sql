-- p_type: 'message', 'metrics', or null for both.
create function tunebase_internal.list_events(
  p_caller jsonb, p_job_id uuid, p_after uuid, p_limit integer, p_type text default null
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'jobs:read');
  v_before integer := 2147483647;
  v_rows jsonb;
begin
  if not exists (select from tunebase.jobs where id = p_job_id and project_id = v_project_id) then
    perform tunebase_internal.raise_api_error('job_not_found');
  end if;
  if p_after is not null then
    select number into v_before from tunebase.events where id = p_after and job_id = p_job_id;
    if not found then
      perform tunebase_internal.raise_api_error('cursor_not_found');
    end if;
  end if;
  if p_type = 'message' then
    -- A literal, as in the partial index.
    select jsonb_agg(to_jsonb(e) order by e.number desc) into v_rows from (
      select * from tunebase.events
      where job_id = p_job_id and number < v_before and type = 'message'
      order by number desc limit p_limit + 1
    ) e;
  else
    select jsonb_agg(to_jsonb(e) order by e.number desc) into v_rows from (
      select * from tunebase.events
      where job_id = p_job_id and number < v_before and (p_type is null or type = p_type)
      order by number desc limit p_limit + 1
    ) e;
  end if;
  return tunebase_internal.paginate(v_rows, p_limit);
end $$;
