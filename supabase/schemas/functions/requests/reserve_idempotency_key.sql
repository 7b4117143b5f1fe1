-- Reserves a key. Returns {state: 'new', id}, {state: 'done', request_hash, answer} or {state: 'running'}. Raises
-- idempotency_key_reused for another request. An expired reservation and an answer older than a day are replaced.
create function tunebase_internal.reserve_idempotency_key(
  p_caller jsonb, p_key_hash text, p_request_hash text, p_lease_seconds integer, p_scope text
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_subject text := tunebase_internal.idempotency_subject(p_caller);
  v_request tunebase_internal.idempotency_keys;
  v_until timestamptz := now() + make_interval(secs => p_lease_seconds);
begin
  if p_scope is null then
    perform tunebase_internal.identify(p_caller);
  else
    perform tunebase_internal.authorize(p_caller - 'if_match', p_scope);
  end if;
  insert into tunebase_internal.idempotency_keys (subject, key_hash, request_hash, locked_until)
  values (v_subject, p_key_hash, p_request_hash, v_until)
  on conflict (subject, key_hash) where key_hash is not null do nothing
  returning * into v_request;
  if found then
    return jsonb_build_object('state', 'new', 'id', v_request.id);
  end if;

  select * into v_request from tunebase_internal.idempotency_keys
  where subject = v_subject and key_hash = p_key_hash
  for update;
  if not found then
    -- The first request has just failed and released the key: the client retries.
    return jsonb_build_object('state', 'running');
  end if;
  if v_request.created_at > now() - interval '1 day' then
    if v_request.request_hash <> p_request_hash or v_request.resource_id is not null then
      perform tunebase_internal.raise_api_error('idempotency_key_reused');
    elsif v_request.answer is not null then
      return jsonb_build_object(
        'state', 'done', 'request_hash', v_request.request_hash, 'answer', v_request.answer
      );
    elsif v_request.locked_until > now() then
      return jsonb_build_object('state', 'running');
    end if;
  end if;
  delete from tunebase_internal.idempotency_keys where id = v_request.id;
  -- A new id, so that the old holder, if it is still running, cannot complete the key.
  insert into tunebase_internal.idempotency_keys (subject, key_hash, request_hash, locked_until)
  values (v_subject, p_key_hash, p_request_hash, v_until)
  returning * into v_request;
  return jsonb_build_object('state', 'new', 'id', v_request.id);
end $$;
