-- What the holder of an attempt needs for training: its fencing token, its files, and what to resume or start from.
create function tunebase_internal.claim_reply(p_job tunebase.jobs, p_fence integer) returns jsonb
language plpgsql stable set search_path = ''
as $$
declare
  v_checkpoint tunebase.checkpoints;
  v_training tunebase.files;
  v_validation tunebase.files;
begin
  select * into v_checkpoint from tunebase.checkpoints where job_id = p_job.id order by step desc, id desc limit 1;
  select * into v_training from tunebase.files where id = p_job.training_file;
  select * into v_validation from tunebase.files where id = p_job.validation_file;
  return jsonb_build_object(
    'claimed', true, 'fence', p_fence,
    'training_object', v_training.object, 'training_sha256', v_training.sha256,
    'validation_object', v_validation.object, 'validation_sha256', v_validation.sha256,
    'resume', case when v_checkpoint.id is not null then jsonb_build_object(
      'step', v_checkpoint.step, 'files', v_checkpoint.files,
      'prefix', tunebase_internal.artifact_prefix(v_checkpoint.attempt_id)
    ) end,
    -- The fine-tuned model that training continues from.
    'start_from', (
      select jsonb_build_object('files', manifest -> 'files', 'prefix', prefix)
      from tunebase.adapters where name = p_job.parent_model
    )
  );
end $$;
