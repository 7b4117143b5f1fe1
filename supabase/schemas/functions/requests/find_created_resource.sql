-- The resource that an equal earlier request created, or null. The caller's `request` is {key_hash, hash, is_retry}. Equal
-- means the same key or, without a key, the same hash within ten minutes if this request is a retry (the SDKs count their
-- retries). Raises idempotency_key_reused.
--
-- The lock is held until the transaction ends, so that a retry waits for the first request and finds what it recorded. First
-- requests without a key share the lock, because each of them creates a separate resource.
create function tunebase_internal.find_created_resource(p_caller jsonb) returns uuid
language plpgsql set search_path = ''
as $$
declare
  v_subject text := tunebase_internal.idempotency_subject(p_caller);
  v_key_hash text := p_caller #>> '{request,key_hash}';
  v_hash text := p_caller #>> '{request,hash}';
  v_lock bigint := hashtextextended(v_subject || ' ' || coalesce(v_key_hash, v_hash), 0);
  v_found tunebase_internal.idempotency_keys;
begin
  if v_hash is null then
    return null;
  elsif v_key_hash is not null then
    perform pg_advisory_xact_lock(v_lock);
    delete from tunebase_internal.idempotency_keys
    where subject = v_subject and key_hash = v_key_hash and created_at <= now() - interval '1 day';
    select * into v_found from tunebase_internal.idempotency_keys where subject = v_subject and key_hash = v_key_hash;
    if found and v_found.request_hash is distinct from v_hash then
      perform tunebase_internal.raise_api_error('idempotency_key_reused');
    end if;
  elsif (p_caller #> '{request,is_retry}')::boolean then
    perform pg_advisory_xact_lock(v_lock);
    select * into v_found from tunebase_internal.idempotency_keys
    where subject = v_subject and request_hash = v_hash and key_hash is null and created_at > now() - interval '10 minutes'
    order by created_at desc limit 1;
  else
    perform pg_advisory_xact_lock_shared(v_lock);
    -- A first request that its own retry has overtaken, because a proxy delayed it: the resource exists. Only once: the
    -- next equal request creates another one.
    update tunebase_internal.idempotency_keys set created_by_retry = false
    where created_by_retry and subject = v_subject and request_hash = v_hash and created_at > now() - interval '10 minutes'
    returning * into v_found;
  end if;
  return v_found.resource_id;
end $$;
