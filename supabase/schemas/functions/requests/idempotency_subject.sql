create function tunebase_internal.idempotency_subject(p_caller jsonb) returns text
language sql immutable
return coalesce(p_caller ->> 'key_hash', p_caller ->> 'user_id');
