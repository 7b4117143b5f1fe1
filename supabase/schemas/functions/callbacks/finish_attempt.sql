-- The worker's final callback. p_fault is the class of its error_code. A repeated call returns the same result.
create function tunebase_internal.finish_attempt(p_attempt_id uuid, p_finish jsonb, p_fault text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_attempt tunebase.attempts := tunebase_internal.lock_attempt(p_attempt_id);
  v_directive text := tunebase_internal.worker_directive(v_attempt, p_finish ->> 'worker_id', (p_finish ->> 'fence')::integer);
  v_detail text;
begin
  if v_directive = 'stop' then
    update tunebase.attempts set rejected_callbacks = rejected_callbacks + 1 where id = p_attempt_id;
    return jsonb_build_object(
      'accepted', v_attempt.id is not null and v_attempt.outcome = p_finish ->> 'outcome'
        and v_attempt.fence = (p_finish ->> 'fence')::integer,
      'detail', 'the attempt has ended, or another worker holds it'
    );
  end if;

  case p_finish ->> 'outcome'
    when 'succeeded' then
      v_detail := tunebase_internal.complete_attempt(p_attempt_id, p_finish -> 'manifest', p_finish ->> 'hub_url');
      return jsonb_build_object('accepted', v_detail is null, 'detail', v_detail);
    when 'failed' then
      perform tunebase_internal.end_attempt(
        p_attempt_id, 'failed', p_fault,
        p_finish ->> 'error_code', p_finish ->> 'error_message', p_finish ->> 'hint'
      );
    when 'paused' then
      perform tunebase_internal.end_attempt(p_attempt_id, case when v_directive = 'cancel' then 'cancelled' else 'paused' end);
    when 'preempted' then
      perform tunebase_internal.end_attempt(
        p_attempt_id, 'preempted', 'infrastructure', 'preempted', p_finish ->> 'reason', 'Create the job again.'
      );
    else
      if v_directive = 'cancel' then
        perform tunebase_internal.end_attempt(p_attempt_id, 'cancelled');
      else
        -- Cancelled by RunPod's time limit or console. Reconcile it: /status says which.
        update tunebase.attempts set lease_until = now(), reconcile_at = now() where id = p_attempt_id;
      end if;
  end case;
  return jsonb_build_object('accepted', true, 'detail', null);
end $$;
