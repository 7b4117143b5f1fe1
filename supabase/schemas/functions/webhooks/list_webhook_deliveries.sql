-- p_filter: any of {target_id (an endpoint or channel), status, event_type, job_id}.
create function tunebase_internal.list_webhook_deliveries(p_caller jsonb, p_after uuid, p_limit integer, p_filter jsonb)
returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'webhooks:read');
  v_rows jsonb;
begin
  if p_after is not null
    and not exists (select from tunebase.webhook_deliveries where id = p_after and project_id = v_project_id) then
    perform tunebase_internal.raise_api_error('cursor_not_found');
  end if;
  select jsonb_agg(to_jsonb(d) order by d.id desc) into v_rows from (
    select * from tunebase.webhook_deliveries
    where project_id = v_project_id and (p_after is null or id < p_after)
      and (p_filter -> 'target_id' is null or target_id = (p_filter ->> 'target_id')::uuid)
      and (p_filter -> 'status' is null or status = p_filter ->> 'status')
      and (p_filter -> 'event_type' is null or event_type = p_filter ->> 'event_type')
      and (p_filter -> 'job_id' is null or job_id = (p_filter ->> 'job_id')::uuid)
    order by id desc limit p_limit + 1
  ) d;
  return tunebase_internal.paginate(v_rows, p_limit);
end $$;
