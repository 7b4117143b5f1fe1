-- A job's log alone, without a line for each step: in a long run its few messages lie among a hundred thousand of those.

create index events_messages on public.events (job_id, number) where type = 'message';

drop function tunebase.list_events(jsonb, uuid, uuid, integer);

-- p_type: 'message' or 'metrics'; null is both, and what the function of the version before asks for.
create function tunebase.list_events(
  p_caller jsonb, p_job_id uuid, p_after uuid, p_limit integer, p_type text default null
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase.authorize(p_caller, 'jobs:read');
  v_before integer := 2147483647;
  v_rows jsonb;
begin
  if not exists (select from public.jobs where id = p_job_id and project_id = v_project_id) then
    perform tunebase.refuse('job_not_found');
  end if;
  if p_after is not null then
    select number into v_before from public.events where id = p_after and job_id = p_job_id;
    if not found then
      perform tunebase.refuse('cursor_not_found');
    end if;
  end if;
  if p_type = 'message' then
    -- Said as the index says it.
    select jsonb_agg(to_jsonb(e) order by e.number desc) into v_rows from (
      select * from public.events
      where job_id = p_job_id and number < v_before and type = 'message'
      order by number desc limit p_limit + 1
    ) e;
  else
    select jsonb_agg(to_jsonb(e) order by e.number desc) into v_rows from (
      select * from public.events
      where job_id = p_job_id and number < v_before and (p_type is null or type = p_type)
      order by number desc limit p_limit + 1
    ) e;
  end if;
  return tunebase.page(v_rows, p_limit);
end $$;

revoke execute on function tunebase.list_events(jsonb, uuid, uuid, integer, text) from public;
grant execute on function tunebase.list_events(jsonb, uuid, uuid, integer, text) to tunebase_api;
