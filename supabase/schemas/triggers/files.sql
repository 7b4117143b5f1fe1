create trigger tunebase_cancel_validation after update of deleted_at on tunebase.files
for each row when (old.deleted_at is null and new.deleted_at is not null)
execute function tunebase_internal.cancel_file_validation();

create trigger tunebase_delete_result_content after update of deleted_at on tunebase.files
for each row when (new.deleted_at is not null and new.purpose = 'fine-tune-results')
execute function tunebase_internal.delete_result_content();

-- Not for result files: a job must not fail at the end because its project has reached its quota.
create trigger tunebase_enforce_quota before insert on tunebase.files
for each row when (new.purpose = 'fine-tune') execute function tunebase_internal.enforce_file_quota();
