-- Whether this user can create projects: if sign-up is open, or if they already own one.
create function tunebase_internal.can_create_project(p_user_id uuid) returns boolean
language sql stable set search_path = ''
as $$
  select s.signup = 'open'
    or exists (select from tunebase.project_members where user_id = p_user_id and role = 'owner')
  from tunebase_internal.settings s
$$;
