-- Rejects an upload that would exceed the quota before its bytes arrive; its file counts once it exists.
create trigger tunebase_enforce_quota before insert on tunebase_internal.uploads
for each row execute function tunebase_internal.enforce_upload_quota();
