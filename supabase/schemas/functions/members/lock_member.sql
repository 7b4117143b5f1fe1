-- Locks a project's members and checks one of them. Raises member_not_found, or last_owner if the change would leave the
-- project without an owner.
create function tunebase_internal.lock_member(p_project_id uuid, p_user_id uuid, p_new_role text) returns void
language plpgsql set search_path = ''
as $$
declare
  v_role text;
begin
  -- Locks the project instead of its members, so that two owners cannot both leave at once.
  perform from tunebase.projects where id = p_project_id for no key update;
  select role into v_role from tunebase.project_members where project_id = p_project_id and user_id = p_user_id;
  if not found then
    perform tunebase_internal.raise_api_error('member_not_found');
  end if;
  if v_role = 'owner' and p_new_role is distinct from 'owner' and not exists (
    select from tunebase.project_members
    where project_id = p_project_id and user_id <> p_user_id and role = 'owner'
  ) then
    perform tunebase_internal.raise_api_error('last_owner');
  end if;
end $$;
