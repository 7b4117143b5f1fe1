-- p_changes: any of {name, url, event_types, progress_seconds, enabled}; absent fields keep their value. An update that
-- changes nothing leaves updated_at alone. Enabling clears the failure record.
create function tunebase_internal.update_webhook_endpoint(p_caller jsonb, p_id uuid, p_changes jsonb) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'webhooks:write');
begin
  perform tunebase_internal.webhook_endpoint_json(v_project_id, p_id);
  update tunebase.webhook_endpoints e
  set name = x.name, url = x.url, event_types = x.event_types, progress_seconds = x.progress_seconds, updated_at = now()
  from (
    select
      coalesce(p_changes ->> 'name', o.name) as name,
      coalesce(p_changes ->> 'url', o.url) as url,
      case when p_changes -> 'event_types' is null then o.event_types
        else array(select jsonb_array_elements_text(p_changes -> 'event_types')) end as event_types,
      coalesce((p_changes ->> 'progress_seconds')::integer, o.progress_seconds) as progress_seconds
    from tunebase.webhook_endpoints o where o.id = p_id
  ) x
  where e.id = p_id
    and (e.name, e.url, e.event_types, e.progress_seconds)
      is distinct from (x.name, x.url, x.event_types, x.progress_seconds);
  if (p_changes ->> 'enabled')::boolean then
    update tunebase.webhook_endpoints
    set enabled = true, disabled_at = null, disabled_reason = null, updated_at = now()
    where id = p_id and not enabled;
  elsif not (p_changes ->> 'enabled')::boolean then
    perform tunebase_internal.disable_subscriber(p_id, 'a member switched it off', false);
  end if;
  return tunebase_internal.webhook_endpoint_json(v_project_id, p_id);
end $$;
