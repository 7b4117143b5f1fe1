-- Ends an attempt as succeeded, and its job with it: the only way to `succeeded`. Returns what is missing, or null. Call it
-- with the attempt locked. p_hub_url: where the worker pushed the adapter to.
create function tunebase_internal.complete_attempt(p_attempt_id uuid, p_manifest jsonb, p_hub_url text default null)
returns text
language plpgsql set search_path = ''
as $$
declare
  v_unverified text := tunebase_internal.unverified_files(p_attempt_id, p_manifest -> 'files');
  v_attempt tunebase.attempts;
  v_job tunebase.jobs;
  v_name text;
begin
  if v_unverified is not null then
    return 'not verified in Storage: ' || v_unverified;
  elsif jsonb_array_length(p_manifest -> 'files') = 0 then
    return 'the manifest names no file';
  end if;

  update tunebase.attempts set state = 'ended', outcome = 'succeeded', ended_at = now(), reconcile_at = null
  where id = p_attempt_id
  returning * into strict v_attempt;
  perform tunebase_internal.update_attempt_cost(p_attempt_id);
  select * into strict v_job from tunebase.jobs where id = v_attempt.job_id;
  -- Cancelled while the last file was uploaded: the files stay in Storage, the job stays cancelled.
  if tunebase_internal.is_terminal(v_job.status) then
    return null;
  end if;

  v_job.trained_tokens := greatest(v_job.trained_tokens, (p_manifest ->> 'trained_tokens')::bigint);
  v_name := tunebase_internal.create_adapter(v_job, p_attempt_id, p_manifest);
  update tunebase.jobs
  set status = 'succeeded', stage = 'completed', progress = 100, finished_at = now(), estimated_finish = null,
    due_at = null, status_reason = null, pause_requested = false, fine_tuned_model = v_name,
    trained_tokens = v_job.trained_tokens,
    evaluation = nullif(p_manifest -> 'evaluation', 'null'),
    result_file = tunebase_internal.create_result_file(v_job),
    estimate = tunebase_internal.score_estimate(v_job),
    hub_url = p_hub_url
  where id = v_job.id;
  perform tunebase_internal.record_speed(v_job, v_attempt.gpu_config);
  perform tunebase_internal.add_event(v_job.id, 'info', format('New fine-tuned model created: %s', v_name));
  perform tunebase_internal.add_event(v_job.id, 'info', 'The job has successfully completed.');
  return null;
end $$;
