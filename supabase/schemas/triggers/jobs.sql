create trigger nudge_when_queued after insert or update of status on tunebase.jobs
for each row when (new.status = 'queued' and new.due_at <= now())
execute function tunebase_internal.wake_scheduler_on_enqueue();

create trigger tunebase_owe_created after insert on tunebase.jobs
for each row execute function tunebase_internal.enqueue_job_events();

-- A report sets neither of these columns: it does not pay for this trigger.
create trigger tunebase_owe_moved after update of status, budget_warned_at on tunebase.jobs
for each row
when (new.status is distinct from old.status or new.budget_warned_at is distinct from old.budget_warned_at)
execute function tunebase_internal.enqueue_job_events();

create trigger tunebase_owe_progress after update of progress on tunebase.jobs
for each row
when (new.status = 'running' and new.progress > old.progress)
execute function tunebase_internal.enqueue_progress_event();

create trigger tunebase_hint_realtime after update of status, last_event on tunebase.jobs
for each row
when (new.status is distinct from old.status or new.last_event > old.last_event)
execute function tunebase_internal.broadcast_job_change();

create trigger hold_until_checked before insert or update of status on tunebase.jobs
for each row when (new.status = 'queued')
execute function tunebase_internal.block_until_files_validated();

create constraint trigger tell_overlap after insert on tunebase.jobs
deferrable initially deferred
for each row when (new.validation_file is not null and new.status <> 'validating_files')
execute function tunebase_internal.warn_dataset_overlap_on_create();

create trigger score_estimate before update of status on tunebase.jobs
for each row when (new.status = 'succeeded' and old.status <> 'succeeded' and new.estimate is not null)
execute function tunebase_internal.record_estimate_accuracy();

create trigger wait_for_start before insert or update of status on tunebase.jobs
for each row when (new.status in ('queued', 'validating_files') and not new.auto_start)
execute function tunebase_internal.hold_manual_start();

create trigger make_result_file before update of status on tunebase.jobs
for each row when (new.status = 'succeeded' and old.status <> 'succeeded' and new.result_file is null)
execute function tunebase_internal.create_result_file();

create trigger keep_job_quota before insert on tunebase.jobs
for each row execute function tunebase_internal.enforce_job_quota();

create trigger job_metadata_of_new after insert on tunebase.jobs
for each row when (new.metadata <> '{}') execute function tunebase_internal.index_job_metadata();

create trigger job_metadata_of_changed after update of metadata on tunebase.jobs
for each row when (new.metadata is distinct from old.metadata) execute function tunebase_internal.index_job_metadata();
