-- Orphans an object (or null) of a deleted file, unless another file shares it. Locks those files in a fixed order, so that
-- the second of two concurrent deletions sees the first.
create function tunebase_internal.release_object(p_object text) returns void
language plpgsql set search_path = ''
as $$
begin
  perform from tunebase.files where p_object in (object, original_object) and deleted_at is null order by id for update;
  if p_object is not null and not exists (
    select from tunebase.files where p_object in (object, original_object) and deleted_at is null
  ) then
    insert into tunebase_internal.orphaned_objects (bucket, object) values ('tunebase-datasets', p_object) on conflict do nothing;
  end if;
end $$;
