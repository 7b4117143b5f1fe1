-- Disables an endpoint or channel and notifies the project. Pending deliveries become dead and can be replayed.
create function tunebase_internal.disable_subscriber(p_target_id uuid, p_reason text, p_tell boolean default true) returns void
language plpgsql set search_path = ''
as $$
declare
  v_project_id uuid;
  v_name text;
  v_id text;
begin
  perform tunebase_internal.lock_subscriber(p_target_id);
  update tunebase.webhook_deliveries
  set status = 'dead', next_at = null, leased_until = null, reason = 'Its receiver was disabled: ' || p_reason
  where status = 'pending' and target_id = p_target_id;
  delete from tunebase_internal.failing_subscribers where target_id = p_target_id;

  update tunebase.webhook_endpoints
  set enabled = false, disabled_at = now(), disabled_reason = p_reason, updated_at = now(), version = version + 1
  where id = p_target_id and enabled
  returning project_id, format('Webhook endpoint “%s”', name), 'whe_' || replace(id::text, '-', '')
  into v_project_id, v_name, v_id;
  if v_id is null then
    update tunebase.notification_channels
    set enabled = false, disabled_at = now(), disabled_reason = p_reason, updated_at = now(), version = version + 1
    where id = p_target_id and enabled
    returning project_id, format('Notifications by %s to %s', kind, target), 'nch_' || replace(id::text, '-', '')
    into v_project_id, v_name, v_id;
  end if;
  if v_id is not null and p_tell then
    insert into tunebase_internal.outbox (project_id, type, data)
    values (v_project_id, 'webhook_endpoint.disabled', jsonb_build_object(
      'id', v_id, 'name', v_name, 'reason', p_reason
    ));
  end if;
end $$;
