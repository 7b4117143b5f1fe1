-- An object of a file that was deleted, null where it has none, is garbage, unless another file has it. Locks those, in one
-- order, so that of two deletions the second sees the first.
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
