-- The bytes of an upload that comes to nothing.
create function tunebase_internal.discard_upload(p_upload tunebase_internal.uploads) returns void
language sql set search_path = ''
as $$
  select tunebase_internal.discard_upload_parts(p_upload.id, '{}');
  insert into tunebase_internal.orphaned_objects (bucket, object, next_at)
  select 'tunebase-datasets', o.object, o.next_at
  from (values
    -- When its token opens nothing any more: it could write there again.
    (p_upload.object, now() + interval '25 hours'),
    -- Moved there by a completion that did not come to its end, or is about to be.
    (p_upload.project_id || '/' || p_upload.id || '.jsonl', now() + interval '1 hour')
  ) o (object, next_at)
  where p_upload.kind = 'direct'
  on conflict do nothing
$$;
