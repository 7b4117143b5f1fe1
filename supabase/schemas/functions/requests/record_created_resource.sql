-- Records which resource a request created, in the same transaction, for find_created_resource.
create function tunebase_internal.record_created_resource(p_caller jsonb, p_id uuid) returns void
language plpgsql set search_path = ''
as $$
declare
  v_request jsonb := p_caller -> 'request';
begin
  if v_request is null then
    return;
  end if;
  insert into tunebase_internal.idempotency_keys (subject, key_hash, request_hash, resource_id, created_by_retry)
  values (
    tunebase_internal.idempotency_subject(p_caller), v_request ->> 'key_hash', v_request ->> 'hash', p_id,
    v_request ->> 'key_hash' is null and (v_request -> 'is_retry')::boolean
  )
  on conflict do nothing;
  if not found then
    -- Another kind of request has reserved the same key.
    perform tunebase_internal.raise_api_error('idempotency_key_reused');
  end if;
end $$;
