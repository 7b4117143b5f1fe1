-- The oldest active project that a user owns; null when there is none.
create function tunebase_internal.find_owned_project(p_user_id uuid) returns uuid
language sql stable set search_path = ''
as $$
  select m.project_id
  from tunebase.project_members m join tunebase.projects p on p.id = m.project_id
  where m.user_id = p_user_id and m.role = 'owner' and p.archived_at is null
  order by m.created_at, m.project_id limit 1
$$;
