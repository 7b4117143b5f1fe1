-- Raises project_archived, or quota_exceeded at the project's limit of open jobs.
create function tunebase_internal.enforce_job_quota() returns trigger
language plpgsql set search_path = ''
as $$
declare
  v_limit integer;
  v_archived timestamptz;
  v_used integer;
begin
  -- The same lock as the foreign key's: it makes archive_project and this transaction wait for each other.
  select max_jobs, archived_at into v_limit, v_archived from tunebase.projects where id = new.project_id for key share;
  if v_archived is not null then
    perform tunebase_internal.raise_api_error('project_archived');
  end if;
  if v_limit is null then
    return new;
  end if;
  select count(*) into v_used from tunebase.jobs
  where project_id = new.project_id and tunebase_internal.is_open(status);
  -- Creates lock the project and count again only near the limit, so that they run concurrently otherwise. 100 is more than
  -- there are connections.
  if v_used > v_limit - 100 then
    perform from tunebase.projects where id = new.project_id for no key update;
    select count(*) into v_used from tunebase.jobs
    where project_id = new.project_id and tunebase_internal.is_open(status);
    if v_used >= v_limit then
      perform tunebase_internal.raise_api_error('quota_exceeded', jsonb_build_object(
        'what', 'unfinished jobs', 'limit', v_limit, 'used', v_used,
        'fix', 'Wait until some finish, cancel some, or ask the operator to raise max_jobs.'
      ));
    end if;
  end if;
  return new;
end $$;
