-- The content of a result file is in the database, so it is deleted at once.
create function tunebase_internal.delete_result_content() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  delete from tunebase_internal.result_contents where file_id = new.id;
  return null;
end $$;
