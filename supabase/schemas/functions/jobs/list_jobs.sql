-- A page of jobs, newest first. p_filter: any of {status, model, created_after, created_before (Unix seconds; the second is
-- exclusive), metadata (all of these pairs), without_metadata: true}.
create function tunebase_internal.list_jobs(p_caller jsonb, p_after uuid, p_limit integer, p_filter jsonb) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'jobs:read');
begin
  if p_after is not null and not exists (select from tunebase.jobs where id = p_after and project_id = v_project_id) then
    perform tunebase_internal.raise_api_error('cursor_not_found');
  end if;
  return tunebase_internal.paginate(tunebase_internal.select_jobs(v_project_id, p_after, p_limit, p_filter), p_limit);
end $$;
