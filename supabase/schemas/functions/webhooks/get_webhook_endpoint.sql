create function tunebase_internal.get_webhook_endpoint(p_caller jsonb, p_id uuid, p_scope text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
begin
  return tunebase_internal.webhook_endpoint_json(tunebase_internal.authorize(p_caller, p_scope), p_id);
end $$;
