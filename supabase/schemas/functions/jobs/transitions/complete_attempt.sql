-- The successful end: every file of the manifest has been read back from Storage. Returns what is missing, or null.
create function tunebase_internal.complete_attempt(p_attempt_id uuid, p_manifest jsonb) returns text
language plpgsql set search_path = ''
as $$
declare
  v_missing text;
  v_job tunebase.jobs;
  v_attempt tunebase.attempts;
  v_name text;
begin
  select string_agg(f ->> 'path', ', ') into v_missing
  from jsonb_array_elements(p_manifest -> 'files') f
  where not exists (
    select from tunebase_internal.verified_files v
    where v.attempt_id = p_attempt_id and v.path = f ->> 'path'
      and v.bytes = (f ->> 'bytes')::bigint and v.sha256 = f ->> 'sha256'
  );
  if v_missing is not null then
    return 'not verified in Storage: ' || v_missing;
  end if;
  if jsonb_array_length(p_manifest -> 'files') = 0 then
    return 'the manifest names no file';
  end if;

  select * into strict v_attempt from tunebase.attempts where id = p_attempt_id;
  select * into strict v_job from tunebase.jobs where id = v_attempt.job_id;
  update tunebase.attempts set state = 'ended', outcome = 'succeeded', ended_at = now(), reconcile_at = null
  where id = p_attempt_id;
  perform tunebase_internal.update_attempt_cost(p_attempt_id);
  -- Cancelled while the last file travelled: the files stay where they are, the job stays cancelled.
  if tunebase_internal.is_terminal(v_job.status) then
    return null;
  end if;

  select concat_ws(':', 'ft', v_job.base_model, p.slug, coalesce(v_job.suffix, ''), right(replace(v_job.id::text, '-', ''), 8))
  into v_name
  from tunebase.projects p where p.id = v_job.project_id;
  insert into tunebase.adapters (job_id, project_id, attempt_id, name, base_model, manifest, prefix, bytes)
  values (
    v_job.id, v_job.project_id, p_attempt_id, v_name, v_job.base_model, p_manifest,
    tunebase_internal.artifact_prefix(p_attempt_id),
    (select sum((f ->> 'bytes')::bigint) from jsonb_array_elements(p_manifest -> 'files') f)
  );
  update tunebase.jobs
  set status = 'succeeded', stage = 'completed', progress = 100, finished_at = now(), estimated_finish = null,
    due_at = null, status_reason = null, pause_requested = false, fine_tuned_model = v_name,
    trained_tokens = greatest(trained_tokens, (p_manifest ->> 'trained_tokens')::bigint)
  where id = v_job.id;
  perform tunebase_internal.add_event(v_job.id, 'info', format('New fine-tuned model created: %s', v_name));
  perform tunebase_internal.add_event(v_job.id, 'info', 'The job has successfully completed.');
  return null;
end $$;
