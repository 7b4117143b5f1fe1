-- Puts a project away, or takes it back. Refused while a job of it has not ended.
create function tunebase_internal.archive_project(p_caller jsonb, p_id uuid, p_archived boolean) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_version integer;
  v_open integer;
begin
  perform tunebase_internal.authorize_project(p_caller, p_id, 'project:admin');
  -- A job that is being created holds a share of this lock (its foreign key), and is counted after it.
  select version into v_version from tunebase.projects where id = p_id for update;
  perform tunebase_internal.require_version(p_caller, v_version);
  if p_archived then
    select count(*) into v_open from tunebase.jobs
    where project_id = p_id and tunebase_internal.is_open(status);
    if v_open > 0 then
      perform tunebase_internal.raise_api_error('project_busy', jsonb_build_object('jobs', v_open));
    end if;
  end if;
  update tunebase.projects set archived_at = case when p_archived then now() end, version = version + 1
  where id = p_id and (archived_at is not null) <> p_archived;
  return tunebase_internal.get_project(p_caller, p_id);
end $$;
