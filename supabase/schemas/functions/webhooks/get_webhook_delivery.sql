-- A delivery with the request and response of its last 50 attempts.
create function tunebase_internal.get_webhook_delivery(p_caller jsonb, p_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
begin
  return tunebase_internal.webhook_delivery_json(tunebase_internal.authorize(p_caller, 'webhooks:read'), p_id);
end $$;
