create function tunebase_internal.get_job(p_caller jsonb, p_job_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'jobs:read');
begin
  if not exists (select from tunebase.jobs where id = p_job_id and project_id = v_project_id) then
    perform tunebase_internal.raise_api_error('job_not_found');
  end if;
  return tunebase_internal.job_json(p_job_id);
end $$;
