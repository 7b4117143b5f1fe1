-- Puts a project away, or takes it back. Refused while a job of it has not ended.
create function tunebase_internal.archive_project(p_caller jsonb, p_id uuid, p_archived boolean) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_open integer;
begin
  perform tunebase_internal.authorize_project(p_caller, p_id, 'project:admin');
  -- A job that is being created holds a share of this lock (its foreign key), and is counted after it.
  perform from tunebase.projects where id = p_id for update;
  if p_archived then
    select count(*) into v_open from tunebase.jobs
    where project_id = p_id and status in ('validating_files', 'queued', 'running', 'paused');
    if v_open > 0 then
      perform tunebase_internal.raise_api_error('project_busy', jsonb_build_object('jobs', v_open));
    end if;
  end if;
  update tunebase.projects set archived_at = case when p_archived then now() end
  where id = p_id and (archived_at is not null) <> p_archived;
  return tunebase_internal.get_project(p_caller, p_id);
end $$;
