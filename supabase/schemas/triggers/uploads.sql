-- An upload that has no room for its file is refused before its bytes come; its file is counted when it is there.
create trigger keep_storage_quota before insert on tunebase_internal.uploads
for each row execute function tunebase_internal.enforce_upload_quota();
