-- Changes a member's role. Raises last_owner, or quota_exceeded if the new owner already owns the maximum of projects.
create function tunebase_internal.update_member(p_caller jsonb, p_project_id uuid, p_user_id uuid, p_role text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
begin
  perform tunebase_internal.authorize_project(p_caller, p_project_id, 'project:admin');
  if p_role = 'owner' and exists (
    select from tunebase.project_members where project_id = p_project_id and user_id = p_user_id and role <> 'owner'
  ) then
    perform tunebase_internal.require_project_room(p_user_id);
  end if;
  perform tunebase_internal.lock_member(p_project_id, p_user_id, p_role);
  update tunebase.project_members set role = p_role where project_id = p_project_id and user_id = p_user_id;
  return (
    select to_jsonb(m) || jsonb_build_object('email', u.email)
    from tunebase.project_members m join auth.users u on u.id = m.user_id
    where m.project_id = p_project_id and m.user_id = p_user_id
  );
end $$;
