-- Newest first, each with the caller's read_at, and the caller's number of unread ones.
create function tunebase_internal.list_notifications(p_caller jsonb, p_after uuid, p_limit integer, p_unread boolean)
returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'jobs:read');
  v_user_id uuid := tunebase_internal.get_user_id(p_caller);
  v_rows jsonb;
begin
  if p_after is not null
    and not exists (select from tunebase.notifications where id = p_after and project_id = v_project_id) then
    perform tunebase_internal.raise_api_error('cursor_not_found');
  end if;
  select jsonb_agg(to_jsonb(n) order by n.id desc) into v_rows from (
    select x.*, r.read_at
    from tunebase.notifications x
    left join tunebase.notification_reads r on r.notification_id = x.id and r.user_id = v_user_id
    where x.project_id = v_project_id and (p_after is null or x.id < p_after)
      and (not p_unread or r.read_at is null)
    order by x.id desc limit p_limit + 1
  ) n;
  return tunebase_internal.paginate(v_rows, p_limit)
    || jsonb_build_object('unread', tunebase_internal.count_unread(v_project_id, v_user_id));
end $$;
