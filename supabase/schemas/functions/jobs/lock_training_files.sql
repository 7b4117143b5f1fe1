-- Checks a new job's files and locks them until the job exists, so that they cannot be deleted, and a validation cannot
-- finish without seeing the job. Returns true if one is still being validated.
create function tunebase_internal.lock_training_files(p_project_id uuid, p_training_file uuid, p_validation_file uuid)
returns boolean
language plpgsql set search_path = ''
as $$
declare
  v_unvalidated boolean;
begin
  perform from tunebase.files where id in (p_training_file, p_validation_file) order by id for key share;
  v_unvalidated := tunebase_internal.lock_unvalidated_files(p_training_file, p_validation_file);
  perform tunebase_internal.require_training_file(p_project_id, p_training_file, 'training_file');
  if p_validation_file is not null then
    perform tunebase_internal.require_training_file(p_project_id, p_validation_file, 'validation_file');
  end if;
  return v_unvalidated;
end $$;
