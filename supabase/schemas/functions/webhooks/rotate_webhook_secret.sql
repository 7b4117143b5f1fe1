-- The next version signs from now on; the one before too for 24 hours, if that is asked for. A rotation that the SDK
-- sends again answers with what the first made: another one would end the secret that the receiver still uses.
create function tunebase_internal.rotate_webhook_secret(p_caller jsonb, p_id uuid, p_keep_old boolean, p_is_retry boolean)
returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_endpoint tunebase.webhook_endpoints := tunebase_internal.lock_webhook_endpoint(p_caller, p_id);
begin
  update tunebase.webhook_endpoints
  set secret_version = secret_version + 1, rotated_at = now(), updated_at = now(), version = version + 1,
    old_secret_until = case when p_keep_old then now() + interval '24 hours' end
  where id = p_id and not (p_is_retry and coalesce(rotated_at > now() - interval '10 minutes', false));
  return tunebase_internal.webhook_endpoint_json(v_endpoint.project_id, p_id);
end $$;
