-- Removes a member, or oneself. Keys that they made stay: those belong to the project.
create function tunebase_internal.remove_member(p_caller jsonb, p_project_id uuid, p_user_id uuid) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  perform tunebase_internal.authorize_project(
    p_caller, p_project_id,
    case when (p_caller ->> 'user_id')::uuid = p_user_id then 'project:read' else 'project:admin' end
  );
  perform tunebase_internal.lock_member(p_project_id, p_user_id, null);
  delete from tunebase.project_members where project_id = p_project_id and user_id = p_user_id;
end $$;
