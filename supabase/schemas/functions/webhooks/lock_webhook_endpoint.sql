-- Locks an endpoint that the caller wants to change, its deliveries first (lock_subscriber). Raises
-- webhook_endpoint_not_found or precondition_failed.
create function tunebase_internal.lock_webhook_endpoint(p_caller jsonb, p_id uuid) returns tunebase.webhook_endpoints
language plpgsql set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'webhooks:write');
  v_endpoint tunebase.webhook_endpoints;
begin
  perform tunebase_internal.lock_subscriber(p_id);
  select * into v_endpoint from tunebase.webhook_endpoints where id = p_id and project_id = v_project_id for no key update;
  if not found then
    perform tunebase_internal.raise_api_error('webhook_endpoint_not_found');
  end if;
  perform tunebase_internal.require_version(p_caller, v_endpoint.version);
  return v_endpoint;
end $$;
