-- For jobs whose files were checked before. Deferred to the commit, behind the events of the creation itself.
create function tunebase_internal.warn_dataset_overlap_on_create() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  perform tunebase_internal.warn_dataset_overlap(new.id);
  return null;
end $$;
