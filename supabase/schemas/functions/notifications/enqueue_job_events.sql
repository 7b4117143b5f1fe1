-- Writes the outbox rows of a new or changed job. It must never fail the change: failures are logged, and fan_out_events
-- writes the events later.
create function tunebase_internal.enqueue_job_events() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  if tg_op = 'INSERT' then
    perform tunebase_internal.enqueue_event(new, 'fine_tuning.job.created');
    if new.status = 'paused' then
      perform tunebase_internal.enqueue_event(new, 'fine_tuning.job.paused');
    end if;
    return null;
  end if;

  if new.status = 'running' and old.started_at is null then
    perform tunebase_internal.enqueue_event(new, 'fine_tuning.job.started');
  elsif new.status <> old.status and new.status in ('paused', 'succeeded', 'failed', 'cancelled') then
    perform tunebase_internal.enqueue_event(new, 'fine_tuning.job.' || new.status);
  end if;
  if old.budget_warned_at is null and new.budget_warned_at is not null then
    perform tunebase_internal.enqueue_event(new, 'fine_tuning.job.budget_warning');
  end if;
  if new.status = 'running' and new.progress > old.progress then
    perform tunebase_internal.enqueue_progress_event(new);
  end if;
  return null;
end $$;
