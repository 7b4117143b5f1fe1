-- A job that the caller may read. Raises job_not_found.
create function tunebase_internal.authorize_job(p_caller jsonb, p_job_id uuid) returns tunebase.jobs
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'jobs:read');
  v_job tunebase.jobs;
begin
  select * into v_job from tunebase.jobs where id = p_job_id and project_id = v_project_id;
  if not found then
    perform tunebase_internal.raise_api_error('job_not_found');
  end if;
  return v_job;
end $$;
