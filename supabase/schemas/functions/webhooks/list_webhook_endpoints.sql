create function tunebase_internal.list_webhook_endpoints(p_caller jsonb, p_after uuid, p_limit integer) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'webhooks:read');
  v_rows jsonb;
begin
  if p_after is not null
    and not exists (select from tunebase.webhook_endpoints where id = p_after and project_id = v_project_id) then
    perform tunebase_internal.raise_api_error('cursor_not_found');
  end if;
  select jsonb_agg(to_jsonb(e) order by e.id desc) into v_rows from (
    select * from tunebase.webhook_endpoints
    where project_id = v_project_id and (p_after is null or id < p_after)
    order by id desc limit p_limit + 1
  ) e;
  return tunebase_internal.paginate(v_rows, p_limit);
end $$;
