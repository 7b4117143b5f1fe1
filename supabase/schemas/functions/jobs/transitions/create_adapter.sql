-- Records the trained adapter of a job. Returns the fine-tuned model's name.
create function tunebase_internal.create_adapter(p_job tunebase.jobs, p_attempt_id uuid, p_manifest jsonb) returns text
language plpgsql set search_path = ''
as $$
declare
  v_name text;
begin
  insert into tunebase.adapters (job_id, project_id, attempt_id, name, base_model, manifest, prefix, bytes)
  select p_job.id, p_job.project_id, p_attempt_id,
    concat_ws(':', 'ft', p_job.base_model, p.slug, coalesce(p_job.suffix, ''), right(replace(p_job.id::text, '-', ''), 8)),
    p_job.base_model, p_manifest, tunebase_internal.artifact_prefix(p_attempt_id),
    (select sum((f ->> 'bytes')::bigint) from jsonb_array_elements(p_manifest -> 'files') f)
  from tunebase.projects p where p.id = p_job.project_id
  returning name into strict v_name;
  return v_name;
end $$;
