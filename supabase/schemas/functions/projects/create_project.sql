-- Creates a project with the caller as its owner. Raises signup_closed or quota_exceeded.
create function tunebase_internal.create_project(p_caller jsonb, p_name text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_user_id uuid := tunebase_internal.require_user_id(p_caller);
begin
  if not tunebase_internal.can_create_project(v_user_id) then
    perform tunebase_internal.raise_api_error('signup_closed');
  end if;
  perform tunebase_internal.require_project_room(v_user_id);
  return tunebase_internal.project_json(tunebase_internal.insert_project(v_user_id, p_name), 'owner');
end $$;
