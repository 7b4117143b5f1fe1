create function tunebase_internal.delete_webhook_endpoint(p_caller jsonb, p_id uuid) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  perform tunebase_internal.lock_webhook_endpoint(p_caller, p_id);
  delete from tunebase.webhook_endpoints where id = p_id;
  delete from tunebase_internal.failing_subscribers where target_id = p_id;
end $$;
