-- Archives or restores a project. Raises project_busy if it has unfinished jobs.
create function tunebase_internal.archive_project(p_caller jsonb, p_id uuid, p_archived boolean) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_version integer;
  v_open integer;
begin
  perform tunebase_internal.authorize_project(p_caller, p_id, 'project:admin');
  -- Waits for concurrent creates, whose foreign key takes a share lock, and then counts their jobs.
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
