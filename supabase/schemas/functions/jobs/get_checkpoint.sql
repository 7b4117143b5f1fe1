-- A checkpoint of a job, and the prefix of its files in the bucket `tunebase-adapters`.
create function tunebase_internal.get_checkpoint(p_caller jsonb, p_job_id uuid, p_checkpoint_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_job tunebase.jobs := tunebase_internal.authorize_job(p_caller, p_job_id);
  v_checkpoint tunebase.checkpoints;
begin
  select * into v_checkpoint from tunebase.checkpoints where id = p_checkpoint_id and job_id = v_job.id;
  if not found then
    perform tunebase_internal.raise_api_error('checkpoint_not_found');
  end if;
  return to_jsonb(v_checkpoint) || jsonb_build_object(
    'model', v_job.base_model, 'prefix', tunebase_internal.artifact_prefix(v_checkpoint.attempt_id)
  );
end $$;
