-- Orphans the parts of an upload: now, or in an hour if a part may still be on its way to Storage.
create function tunebase_internal.discard_upload_parts(p_upload_id uuid, p_keep uuid[]) returns void
language sql set search_path = ''
as $$
  with discarded as (
    delete from tunebase_internal.upload_parts where upload_id = p_upload_id and id <> all (p_keep) returning object, bytes
  )
  insert into tunebase_internal.orphaned_objects (bucket, object, next_at)
  select 'tunebase-datasets', object, now() + case when bytes is null then interval '1 hour' else interval '0' end from discarded
  on conflict do nothing
$$;
