create function tunebase_internal.enqueue_checkpoint_event() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
  v_job tunebase.jobs;
begin
  select * into strict v_job from tunebase.jobs where id = new.job_id;
  perform tunebase_internal.enqueue_event(v_job, 'fine_tuning.job.checkpoint', jsonb_build_object('checkpoint', jsonb_build_object(
    'id', 'ftckpt-' || replace(new.id::text, '-', ''), 'step_number', new.step, 'metrics', new.metrics
  )));
  return null;
exception when others then
  perform tunebase_internal.log_trigger_failure(tg_name, new.job_id, null, sqlerrm);
  return null;
end $$;
