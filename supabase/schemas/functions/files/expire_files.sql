-- Expires uploads that were not completed, and files with `expires_after` that no unfinished job uses.
create function tunebase_internal.expire_files() returns integer
language plpgsql security definer set search_path = ''
as $$
declare
  v_upload tunebase_internal.uploads;
  v_file tunebase.files;
  v_count integer := 0;
begin
  for v_upload in
    select * from tunebase_internal.uploads where status = 'pending' and expires_at <= now()
    order by expires_at limit 100 for update skip locked
  loop
    update tunebase_internal.uploads set status = 'expired' where id = v_upload.id;
    perform tunebase_internal.discard_upload(v_upload);
    v_count := v_count + 1;
  end loop;
  -- Kept long enough for a repeated completion.
  delete from tunebase_internal.uploads where status <> 'pending' and expires_at < now() - interval '2 days';
  for v_file in
    select * from tunebase.files f
    where expires_at <= now() and deleted_at is null and not exists (
      select from tunebase.jobs
      where (training_file = f.id or validation_file = f.id) and not tunebase_internal.is_terminal(status)
    )
    order by object, id limit 100 for update skip locked
  loop
    update tunebase.files set deleted_at = now() where id = v_file.id;
    perform tunebase_internal.release_object(v_file.object);
    perform tunebase_internal.release_object(v_file.original_object);
    v_count := v_count + 1;
  end loop;
  return v_count;
end $$;
