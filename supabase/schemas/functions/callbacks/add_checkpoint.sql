-- Records a checkpoint whose files are all verified. Keeps the three newest of a job and deletes the files of older ones. A
-- checkpoint is progress, so it resets failed_attempts.
create function tunebase_internal.add_checkpoint(p_attempt tunebase.attempts, p_checkpoint jsonb) returns void
language plpgsql set search_path = ''
as $$
begin
  if tunebase_internal.unverified_files(p_attempt.id, p_checkpoint -> 'files') is not null then
    perform tunebase_internal.add_event(p_attempt.job_id, 'warn', format(
      'Checkpoint step %s was discarded because its files are incomplete in Storage.', p_checkpoint ->> 'step'
    ));
    return;
  end if;
  insert into tunebase.checkpoints (job_id, project_id, attempt_id, step, metrics, files)
  values (
    p_attempt.job_id, p_attempt.project_id, p_attempt.id, (p_checkpoint ->> 'step')::integer,
    jsonb_strip_nulls(p_checkpoint - 'files'), p_checkpoint -> 'files'
  )
  on conflict (job_id, step, attempt_id) do nothing;
  if not found then
    return;
  end if;
  update tunebase.jobs set failed_attempts = 0 where id = p_attempt.job_id;
  perform tunebase_internal.add_event(
    p_attempt.job_id, 'info', format('Saved checkpoint step %s.', p_checkpoint ->> 'step')
  );
  with old as (
    delete from tunebase.checkpoints where id in (
      select id from tunebase.checkpoints where job_id = p_attempt.job_id order by step desc, id desc offset 3
    )
    returning attempt_id, files
  )
  insert into tunebase_internal.orphaned_objects (bucket, object)
  select 'tunebase-adapters', tunebase_internal.artifact_prefix(old.attempt_id) || '/' || (f ->> 'path')
  from old, jsonb_array_elements(old.files) f
  on conflict do nothing;
end $$;
