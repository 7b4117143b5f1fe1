create function tunebase_internal.enqueue_job_events() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  if tg_op = 'INSERT' then
    perform tunebase_internal.enqueue_event(new, 'fine_tuning.job.created');
  elsif new.status = 'running' and old.started_at is null then
    perform tunebase_internal.enqueue_event(new, 'fine_tuning.job.started');
  end if;
  if new.status in ('paused', 'succeeded', 'failed', 'cancelled') and (tg_op = 'INSERT' or new.status <> old.status) then
    perform tunebase_internal.enqueue_event(new, 'fine_tuning.job.' || new.status);
  end if;
  if tg_op = 'UPDATE' and old.budget_warned_at is null and new.budget_warned_at is not null then
    perform tunebase_internal.enqueue_event(new, 'fine_tuning.job.budget_warning');
  end if;
  return null;
exception when others then
  perform tunebase_internal.log_trigger_failure(tg_name, new.id, null, sqlerrm);
  return null;
end $$;
