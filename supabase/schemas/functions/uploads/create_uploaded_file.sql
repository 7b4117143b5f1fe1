create function tunebase_internal.create_uploaded_file(
  p_upload tunebase_internal.uploads, p_file_id uuid, p_sources jsonb, p_md5 text, p_object text
) returns void
language plpgsql set search_path = ''
as $$
begin
  -- First, so that the bytes are not counted twice: as pending and as a file.
  update tunebase_internal.uploads set status = 'completed' where id = p_upload.id;
  insert into tunebase.files (id, project_id, filename, purpose, bytes, status, object, expires_at)
  values (
    p_file_id, p_upload.project_id, p_upload.filename, p_upload.purpose, p_upload.bytes, 'uploaded', p_object,
    now() + make_interval(secs => p_upload.file_expires_after)
  );
  insert into tunebase_internal.file_validations (file_id, sources, is_copied, md5)
  values (p_file_id, p_sources, jsonb_array_length(p_sources) > 1, p_md5);
  update tunebase_internal.uploads set file_id = p_file_id where id = p_upload.id;
end $$;
