-- With its log: each try's request and answer, the last fifty.
create function tunebase_internal.get_webhook_delivery(p_caller jsonb, p_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
begin
  return tunebase_internal.webhook_delivery_json(tunebase_internal.authorize(p_caller, 'webhooks:read'), p_id);
end $$;
