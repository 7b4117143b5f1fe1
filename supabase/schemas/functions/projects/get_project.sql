create function tunebase_internal.get_project(p_caller jsonb, p_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_id uuid := tunebase_internal.authorize_project(p_caller, p_id, 'project:read');
  v_project tunebase.projects;
  v_role text;
begin
  select * into strict v_project from tunebase.projects where id = v_id;
  select role into v_role from tunebase.project_members
  where project_id = v_id and user_id = (p_caller ->> 'user_id')::uuid;
  return tunebase_internal.project_json(v_project, v_role) || jsonb_build_object('use', tunebase_internal.project_usage(v_id));
end $$;
