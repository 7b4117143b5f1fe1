-- Deletes a file for its project. The row stays for the jobs that used it; the scheduler deletes the bytes.
create function tunebase_internal.delete_file(p_caller jsonb, p_id uuid) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'files:write');
  v_file tunebase.files;
begin
  -- Locks all files that share its objects in a fixed order: otherwise two concurrent deletions could deadlock.
  select * into v_file from tunebase.files where id = p_id and project_id = v_project_id;
  perform from tunebase.files
  where (object = v_file.object or original_object = v_file.original_object) and deleted_at is null
  order by id for update;
  select * into v_file from tunebase.files
  where id = p_id and project_id = v_project_id and deleted_at is null
  for update;
  if not found then
    perform tunebase_internal.raise_api_error('file_not_found');
  end if;
  if exists (
    select from tunebase.jobs
    where (training_file = p_id or validation_file = p_id) and not tunebase_internal.is_terminal(status)
  ) then
    perform tunebase_internal.raise_api_error('file_in_use');
  end if;
  update tunebase.files set deleted_at = now() where id = p_id;
  perform tunebase_internal.release_object(v_file.object);
  perform tunebase_internal.release_object(v_file.original_object);
end $$;
