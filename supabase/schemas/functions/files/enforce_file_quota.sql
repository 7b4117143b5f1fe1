-- Enforces the storage quota. An object that a file shares with another uses no additional storage.
create function tunebase_internal.enforce_file_quota() returns trigger
language plpgsql set search_path = ''
as $$
declare
  v_bytes bigint := 0;
begin
  if not exists (
    select from tunebase.files where object = new.object and project_id = new.project_id and deleted_at is null
  ) then
    v_bytes := new.bytes;
  end if;
  if new.original_object is not null and not exists (
    select from tunebase.files where original_object = new.original_object and project_id = new.project_id and deleted_at is null
  ) then
    v_bytes := v_bytes + new.original_bytes;
  end if;
  if v_bytes > 0 then
    perform tunebase_internal.check_storage_quota(new.project_id, v_bytes);
  end if;
  return new;
end $$;
