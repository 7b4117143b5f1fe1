-- A new project with its maker as owner. Twenty a person: limits are a project's, and must mean something.
create function tunebase_internal.create_project(p_caller jsonb, p_name text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_user_id uuid := tunebase_internal.require_user_id(p_caller);
  v_project tunebase.projects;
  v_owned integer;
  v_id uuid := tunebase_internal.uuid7();
begin
  -- One at a time for each person, so that the count is true.
  perform pg_advisory_xact_lock(hashtextextended('tunebase projects ' || v_user_id, 0));
  select count(*) into v_owned
  from tunebase.project_members m join tunebase.projects p on p.id = m.project_id
  where m.user_id = v_user_id and m.role = 'owner' and p.archived_at is null;
  if v_owned >= 20 then
    perform tunebase_internal.raise_api_error('quota_exceeded', jsonb_build_object(
      'what', 'projects per owner', 'limit', 20, 'used', v_owned, 'fix', 'Archive one and try again.'
    ));
  end if;
  insert into tunebase.projects (id, name, slug)
  values (v_id, p_name, 'p-' || right(replace(v_id::text, '-', ''), 10))
  returning * into v_project;
  insert into tunebase.project_members (project_id, user_id, role) values (v_id, v_user_id, 'owner');
  return tunebase_internal.project_json(v_project, 'owner');
end $$;
