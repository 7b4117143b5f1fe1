create function tunebase_internal.count_unread(p_project_id uuid, p_user_id uuid) returns bigint
language sql stable set search_path = ''
as $$
  select count(*) from tunebase.notifications n
  where n.project_id = p_project_id and not exists (
    select from tunebase.notification_reads r where r.notification_id = n.id and r.user_id = p_user_id
  )
$$;
