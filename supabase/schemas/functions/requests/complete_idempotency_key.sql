-- Stores a request's response. Without one, releases the key.
create function tunebase_internal.complete_idempotency_key(p_id uuid, p_request_hash text, p_answer text) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  if p_answer is null then
    delete from tunebase_internal.idempotency_keys where id = p_id;
  else
    update tunebase_internal.idempotency_keys set request_hash = p_request_hash, answer = p_answer where id = p_id;
  end if;
end $$;
