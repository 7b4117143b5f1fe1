-- Orphans the objects of an upload that was cancelled or has expired.
create function tunebase_internal.discard_upload(p_upload tunebase_internal.uploads) returns void
language sql set search_path = ''
as $$
  select tunebase_internal.discard_upload_parts(p_upload.id, '{}');
  insert into tunebase_internal.orphaned_objects (bucket, object, next_at)
  select 'tunebase-datasets', o.object, o.next_at
  from (values
    -- After its token has expired, because the token could write the object again.
    (p_upload.object, now() + interval '25 hours'),
    -- The target of an interrupted or concurrent completion.
    (p_upload.project_id || '/' || p_upload.id || '.jsonl', now() + interval '1 hour')
  ) o (object, next_at)
  where p_upload.kind = 'direct'
  on conflict do nothing
$$;
