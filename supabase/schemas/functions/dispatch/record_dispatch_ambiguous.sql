-- /run may have started a billed run, so it is never submitted again. A worker's claim or RunPod's webhook resolves it,
-- otherwise it ends at its deadline.
create function tunebase_internal.record_dispatch_ambiguous(p_attempt_id uuid, p_reason text) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  perform tunebase_internal.lock_attempt(p_attempt_id);
  update tunebase.attempts
  set state = 'submission_unknown', error_message = p_reason, reconcile_at = claim_deadline
  where id = p_attempt_id and state = 'submitting';
end $$;
