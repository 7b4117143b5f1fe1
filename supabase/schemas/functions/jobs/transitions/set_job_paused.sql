-- Pauses a job. When resumed, it continues from the newest checkpoint.
create function tunebase_internal.set_job_paused(p_job_id uuid) returns void
language plpgsql set search_path = ''
as $$
declare
  v_step integer := (select max(step) from tunebase.checkpoints where job_id = p_job_id);
begin
  update tunebase.jobs
  set status = 'paused', stage = null, due_at = null, pause_requested = false, estimated_finish = null, status_reason = null
  where id = p_job_id;
  perform tunebase_internal.add_event(p_job_id, 'info', case
    when v_step is null then 'The job is paused. Resume it to start training.'
    else format('The job is paused. When resumed, it continues from checkpoint step %s.', v_step)
  end);
end $$;
