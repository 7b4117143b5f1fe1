-- No job is queued with a file that was not checked: not when it is created, not when it is resumed after a pause. The
-- shared lock makes the end of the check wait for this transaction, so that it sees the job, or this one sees the end.
create function tunebase_internal.block_until_files_validated() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  perform from tunebase.files
  where id in (new.training_file, new.validation_file) and status = 'uploaded'
  for share;
  if found then
    new.status := 'validating_files';
    new.due_at := null;
    new.queued_at := null;
  end if;
  return new;
end $$;
