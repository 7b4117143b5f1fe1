-- A deleted file's bytes go; here that is at once.
create function tunebase_internal.delete_result_content() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  delete from tunebase_internal.result_contents where file_id = new.id;
  return null;
end $$;
