create function tunebase_internal.delete_webhook_endpoint(p_caller jsonb, p_id uuid) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'webhooks:write');
begin
  perform tunebase_internal.webhook_endpoint_json(v_project_id, p_id);
  perform tunebase_internal.lock_subscriber(p_id);
  delete from tunebase.webhook_endpoints where id = p_id;
  delete from tunebase_internal.failing_subscribers where target_id = p_id;
end $$;
