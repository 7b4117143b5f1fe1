-- Creates a project with this user as its owner and the operator's default cap.
create function tunebase_internal.insert_project(p_user_id uuid, p_name text) returns tunebase.projects
language plpgsql set search_path = ''
as $$
declare
  v_project tunebase.projects;
  v_id uuid := tunebase_internal.uuid7();
begin
  insert into tunebase.projects (id, name, slug, spend_cap_usd)
  values (
    v_id, p_name,
    -- The random end of the id: unique, and reveals nothing about the user.
    'p-' || right(replace(v_id::text, '-', ''), 10),
    (select default_spend_cap_usd from tunebase_internal.settings)
  )
  returning * into v_project;
  insert into tunebase.project_members (project_id, user_id, role) values (v_id, p_user_id, 'owner');
  return v_project;
end $$;
