-- Records the RunPod status of a waiting or running attempt, and when to check it again.
create function tunebase_internal.record_runpod_status(p_attempt tunebase.attempts, p_status text, p_reason text) returns void
language plpgsql set search_path = ''
as $$
declare
  v_missed boolean := p_attempt.state = 'running' and p_status = 'IN_PROGRESS';
begin
  if v_missed and p_attempt.missed_heartbeats = 4 then
    perform tunebase_internal.add_event(
      p_attempt.job_id, 'warn', 'No heartbeat from the GPU worker; RunPod reports that it is still running.'
    );
  end if;
  if p_status not in ('IN_QUEUE', 'IN_PROGRESS', 'NONE', 'UNREACHABLE') then
    perform tunebase_internal.raise_alert(
      'unknown_status', p_attempt.endpoint_id, format('RunPod returned the unknown status %s for run %s.', p_status, p_attempt.runpod_job_id)
    );
  end if;
  if p_reason is not null then
    update tunebase.jobs set status_reason = p_reason
    where id = p_attempt.job_id and status = 'queued' and status_reason is distinct from p_reason;
    if found then
      perform tunebase_internal.add_event(p_attempt.job_id, 'info', format('Waiting for a GPU: %s.', p_reason));
    end if;
  end if;
  update tunebase.attempts
  set missed_heartbeats = missed_heartbeats + v_missed::integer,
    reconcile_at = case
      when runpod_job_id is null and state = 'submission_unknown' then claim_deadline
      else now() + interval '15 seconds'
    end
  where id = p_attempt.id;
end $$;
