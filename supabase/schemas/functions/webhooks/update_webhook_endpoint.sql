-- p_changes: any of {name, url, event_types, progress_seconds, enabled}; absent fields keep their value. An update that
-- changes nothing leaves updated_at alone. Enabling clears the failure record.
create function tunebase_internal.update_webhook_endpoint(p_caller jsonb, p_id uuid, p_changes jsonb) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_old tunebase.webhook_endpoints := tunebase_internal.lock_webhook_endpoint(p_caller, p_id);
  v_new tunebase.webhook_endpoints := v_old;
  v_enabled boolean := (p_changes ->> 'enabled')::boolean;
begin
  v_new.name := coalesce(p_changes ->> 'name', v_old.name);
  v_new.url := coalesce(p_changes ->> 'url', v_old.url);
  v_new.progress_seconds := coalesce((p_changes ->> 'progress_seconds')::integer, v_old.progress_seconds);
  if p_changes ? 'event_types' then
    v_new.event_types := array(select jsonb_array_elements_text(p_changes -> 'event_types'));
  end if;
  if v_enabled then
    v_new.enabled := true;
    v_new.disabled_at := null;
    v_new.disabled_reason := null;
  end if;
  if v_new is distinct from v_old then
    update tunebase.webhook_endpoints
    set name = v_new.name, url = v_new.url, event_types = v_new.event_types, progress_seconds = v_new.progress_seconds,
      enabled = v_new.enabled, disabled_at = v_new.disabled_at, disabled_reason = v_new.disabled_reason,
      updated_at = now(), version = version + 1
    where id = p_id;
  end if;
  if not v_enabled then
    perform tunebase_internal.disable_subscriber(p_id, 'a member disabled it', false);
  end if;
  return tunebase_internal.webhook_endpoint_json(v_old.project_id, p_id);
end $$;
