-- Sends every dead delivery of an endpoint since p_since again. Returns how many.
create function tunebase_internal.replay_webhook_endpoint(p_caller jsonb, p_id uuid, p_since timestamptz) returns integer
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'webhooks:write');
  v_count integer;
begin
  perform tunebase_internal.webhook_endpoint_json(v_project_id, p_id);
  perform tunebase_internal.require_enabled(p_id);
  perform tunebase_internal.lock_subscriber(p_id);
  update tunebase.webhook_deliveries
  set status = 'pending', tries = 0, next_at = now(), reason = null
  where endpoint_id = p_id and status = 'dead' and event_created_at >= p_since;
  get diagnostics v_count = row_count;
  return v_count;
end $$;
