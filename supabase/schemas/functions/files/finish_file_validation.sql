-- Finishes a validation: {status, details, report, sha256, rows}, and for a converted file {converted: {bytes, sha256,
-- source_format, conversion}}. Releases jobs that wait for the file. Orphans copied parts, and the objects of a file that
-- equals another. Locks the file before the validation and the jobs, as everywhere.
create function tunebase_internal.finish_file_validation(p_file_id uuid, p_lease uuid, p_result jsonb) returns boolean
language plpgsql security definer set search_path = ''
as $$
declare
  v_file tunebase.files;
  v_check tunebase_internal.file_validations;
  v_converted jsonb := nullif(p_result -> 'converted', 'null');
  v_sha256 text := coalesce(v_converted ->> 'sha256', p_result ->> 'sha256');
  v_bytes bigint;
  v_equal text;
  v_object text;
begin
  select * into v_file from tunebase.files where id = p_file_id for no key update;
  delete from tunebase_internal.file_validations where file_id = p_file_id and lease = p_lease returning * into v_check;
  if not found then
    return false;
  end if;
  v_bytes := coalesce((v_converted ->> 'bytes')::bigint, v_file.bytes);
  if p_result ->> 'status' = 'processed' then
    v_equal := tunebase_internal.find_equal_object(v_file.project_id, v_file.purpose, v_sha256, v_bytes, p_file_id);
  end if;
  v_object := coalesce(v_equal, case when v_converted is null then v_file.object else v_check.converted_object end);
  update tunebase.files
  set status = p_result ->> 'status', status_details = p_result ->> 'details',
    report = coalesce(p_result -> 'report', '{}'), sha256 = v_sha256, bytes = v_bytes, object = v_object
  where id = p_file_id;
  if v_converted is not null then
    update tunebase.files
    set source_format = v_converted ->> 'source_format', conversion = v_converted -> 'conversion',
      original_object = v_file.object, original_bytes = v_file.bytes, original_sha256 = p_result ->> 'sha256'
    where id = p_file_id;
  end if;
  if p_result -> 'rows' is not null and p_result ->> 'status' = 'processed' then
    perform tunebase_internal.store_row_hashes(p_file_id, p_result -> 'rows');
  end if;
  insert into tunebase_internal.orphaned_objects (bucket, object)
  select 'tunebase-datasets', s.object from (
    select s ->> 'object' as object from jsonb_array_elements(v_check.sources) s
    union
    select v_file.object where v_equal is not null
    union
    select v_check.converted_object where v_check.converted_object is not null
  ) s
  where s.object <> v_object and (v_converted is null or s.object <> v_file.object)
  on conflict do nothing;
  perform tunebase_internal.release_jobs_waiting_for_file(p_file_id);
  return true;
end $$;
