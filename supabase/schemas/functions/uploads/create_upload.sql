-- p_upload: {id, kind, object, filename, purpose, bytes, mime_type, file_expires_after, lives_seconds}.
create function tunebase_internal.create_upload(p_caller jsonb, p_upload jsonb) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'files:write');
  v_upload tunebase_internal.uploads;
begin
  insert into tunebase_internal.uploads (
    id, project_id, kind, object, filename, purpose, bytes, mime_type, file_expires_after, expires_at
  ) values (
    (p_upload ->> 'id')::uuid, v_project_id, p_upload ->> 'kind',
    -- Not under the prefix of files: the client's token could overwrite the object after the upload.
    case when p_upload ->> 'kind' = 'direct' then 'incoming/' || v_project_id || '/' || (p_upload ->> 'id') end,
    p_upload ->> 'filename', p_upload ->> 'purpose', (p_upload ->> 'bytes')::bigint, p_upload ->> 'mime_type',
    (p_upload ->> 'file_expires_after')::integer,
    now() + make_interval(secs => (p_upload ->> 'lives_seconds')::integer)
  )
  returning * into v_upload;
  return to_jsonb(v_upload);
end $$;
