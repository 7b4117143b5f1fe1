-- Share-locks the job's files whose validation has not finished. Returns true if there are any. With the lock, either this
-- transaction or the end of a validation waits for the other, so that either that end sees the job, or this transaction sees
-- the result. Files are locked before jobs everywhere; call it before you lock the job.
create function tunebase_internal.lock_unvalidated_files(p_training_file uuid, p_validation_file uuid) returns boolean
language plpgsql set search_path = ''
as $$
begin
  perform from tunebase.files where id in (p_training_file, p_validation_file) and status = 'uploaded' order by id for share;
  return found;
end $$;
