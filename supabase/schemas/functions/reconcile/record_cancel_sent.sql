create function tunebase_internal.record_cancel_sent(p_attempt_id uuid) returns void
language sql security definer set search_path = ''
as $$
  update tunebase.attempts set cancel_sent_at = now(), reconcile_at = now() + interval '3 seconds'
  where id = p_attempt_id and state <> 'ended'
$$;
