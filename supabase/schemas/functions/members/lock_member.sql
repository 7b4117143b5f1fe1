-- Locks a project's members and checks that one of them is there; refuses with member_not_found, or with last_owner when
-- this change would leave the project without one.
create function tunebase_internal.lock_member(p_project_id uuid, p_user_id uuid, p_new_role text) returns void
language plpgsql set search_path = ''
as $$
declare
  v_role text;
begin
  -- The project's row stands for its members: two owners who leave at once wait for each other here.
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
