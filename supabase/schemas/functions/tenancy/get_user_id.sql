-- The user whose read marks a caller uses: the user itself, or the creator of an API key.
create function tunebase_internal.get_user_id(p_caller jsonb) returns uuid
language sql stable set search_path = ''
as $$
  select coalesce(
    (p_caller ->> 'user_id')::uuid,
    (
      select k.created_by
      from tunebase_internal.api_key_hashes h join tunebase.api_keys k on k.id = h.api_key_id
      where h.hash = decode(p_caller ->> 'key_hash', 'hex')
    )
  )
$$;
