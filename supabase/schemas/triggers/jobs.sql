-- In firing order. None of them decides a status: the functions in jobs/ and jobs/transitions/ do.

create trigger tunebase_enforce_job_quota before insert on tunebase.jobs
for each row execute function tunebase_internal.enforce_job_quota();

create trigger tunebase_index_metadata after insert or update of metadata on tunebase.jobs
for each row execute function tunebase_internal.index_job_metadata();

create trigger tunebase_outbox_created after insert on tunebase.jobs
for each row execute function tunebase_internal.enqueue_job_events();

-- Skipped for reports without new progress, to keep them cheap.
create trigger tunebase_outbox_changed after update of status, budget_warned_at, progress on tunebase.jobs
for each row when (
  new.status <> old.status or new.budget_warned_at is distinct from old.budget_warned_at or new.progress > old.progress
)
execute function tunebase_internal.enqueue_job_events();

create trigger tunebase_broadcast after update of status, last_event on tunebase.jobs
for each row when (new.status <> old.status or new.last_event > old.last_event)
execute function tunebase_internal.broadcast_job_change();
