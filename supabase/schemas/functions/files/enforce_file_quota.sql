-- Enforces the storage quota. A file that shares another's object uses no additional storage.
create function tunebase_internal.enforce_file_quota() returns trigger
language plpgsql set search_path = ''
as $$
begin
  if not exists (
    select from tunebase.files where object = new.object and project_id = new.project_id and deleted_at is null
  ) then
    perform tunebase_internal.check_storage_quota(new.project_id, new.bytes);
  end if;
  return new;
end $$;
