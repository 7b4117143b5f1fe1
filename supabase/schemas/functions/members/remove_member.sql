-- Removes a member, who can be the caller. Their API keys stay, because keys belong to the project. Disables email channels
-- with their address.
create function tunebase_internal.remove_member(p_caller jsonb, p_project_id uuid, p_user_id uuid) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_channel_id uuid;
begin
  perform tunebase_internal.authorize_project(
    p_caller, p_project_id,
    case when (p_caller ->> 'user_id')::uuid = p_user_id then 'project:read' else 'project:admin' end
  );
  perform tunebase_internal.lock_member(p_project_id, p_user_id, null);
  for v_channel_id in
    select c.id from tunebase.notification_channels c
    where c.project_id = p_project_id and c.kind = 'email' and c.enabled
      and lower(c.target) = (select lower(u.email) from auth.users u where u.id = p_user_id)
    order by c.id
  loop
    perform tunebase_internal.disable_subscriber(v_channel_id, 'its address no longer belongs to a project member', false);
  end loop;
  delete from tunebase.project_members where project_id = p_project_id and user_id = p_user_id;
end $$;
