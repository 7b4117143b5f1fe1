create function tunebase_internal.enforce_storage_quota() returns trigger
language plpgsql set search_path = ''
as $$
begin
  perform tunebase_internal.check_storage_quota(new.project_id, new.bytes);
  return new;
end $$;
