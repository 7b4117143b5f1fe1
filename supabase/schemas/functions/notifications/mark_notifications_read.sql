-- Marks one notification (or all, if p_id is null) as read, for the caller only. Returns the number of unread ones.
-- Idempotent. Read access is enough, because only the caller is affected.
create function tunebase_internal.mark_notifications_read(p_caller jsonb, p_id uuid) returns bigint
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'jobs:read');
  v_user_id uuid := tunebase_internal.get_user_id(p_caller);
begin
  if v_user_id is null then
    perform tunebase_internal.raise_api_error('user_required');
  end if;
  if p_id is not null and not exists (
    select from tunebase.notifications where id = p_id and project_id = v_project_id
  ) then
    perform tunebase_internal.raise_api_error('notification_not_found');
  end if;
  insert into tunebase.notification_reads (notification_id, user_id)
  select id, v_user_id from tunebase.notifications
  where project_id = v_project_id and (p_id is null or id = p_id)
  on conflict do nothing;
  return tunebase_internal.count_unread(v_project_id, v_user_id);
end $$;
