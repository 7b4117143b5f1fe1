-- Rotates the signing secret to the next version; with p_keep_old, the old one also signs for 24 hours. A repeated request
-- changes nothing, because another rotation would end the secret that the receiver still uses.
create function tunebase_internal.rotate_webhook_secret(p_caller jsonb, p_id uuid, p_keep_old boolean) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'webhooks:write');
begin
  if tunebase_internal.find_created_resource(p_caller) = p_id then
    return tunebase_internal.webhook_endpoint_json(v_project_id, p_id);
  end if;
  perform tunebase_internal.lock_webhook_endpoint(p_caller, p_id);
  update tunebase.webhook_endpoints
  set secret_version = secret_version + 1, rotated_at = now(), updated_at = now(), version = version + 1,
    old_secret_until = case when p_keep_old then now() + interval '24 hours' end
  where id = p_id;
  perform tunebase_internal.record_created_resource(p_caller, p_id);
  return tunebase_internal.webhook_endpoint_json(v_project_id, p_id);
end $$;
