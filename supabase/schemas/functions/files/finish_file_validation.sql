-- Finishes a validation: {status, details, report, sha256, rows}. Releases jobs that wait for the file. Orphans copied parts,
-- and the object of a file that equals another. Locks the file before the validation and the jobs, as everywhere.
create function tunebase_internal.finish_file_validation(p_file_id uuid, p_lease uuid, p_result jsonb) returns boolean
language plpgsql security definer set search_path = ''
as $$
declare
  v_file tunebase.files;
  v_check tunebase_internal.file_validations;
  v_equal text;
begin
  select * into v_file from tunebase.files where id = p_file_id for no key update;
  delete from tunebase_internal.file_validations where file_id = p_file_id and lease = p_lease returning * into v_check;
  if not found then
    return false;
  end if;
  if p_result ->> 'status' = 'processed' then
    v_equal := tunebase_internal.find_equal_object(
      v_file.project_id, v_file.purpose, p_result ->> 'sha256', v_file.bytes, p_file_id
    );
  end if;
  update tunebase.files
  set status = p_result ->> 'status', status_details = p_result ->> 'details',
    report = coalesce(p_result -> 'report', '{}'), sha256 = p_result ->> 'sha256', object = coalesce(v_equal, object)
  where id = p_file_id;
  if p_result -> 'rows' is not null and p_result ->> 'status' = 'processed' then
    perform tunebase_internal.store_row_hashes(p_file_id, p_result -> 'rows');
  end if;
  insert into tunebase_internal.orphaned_objects (bucket, object)
  select 'tunebase-datasets', s.object from (
    select s ->> 'object' as object from jsonb_array_elements(v_check.sources) s
    union
    select v_file.object where v_equal is not null
  ) s
  where s.object <> coalesce(v_equal, v_file.object)
  on conflict do nothing;
  perform tunebase_internal.release_jobs_waiting_for_file(p_file_id);
  return true;
end $$;
