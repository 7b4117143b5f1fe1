-- Trigger: deleting a file cancels its validation. The objects that a copy may still complete are deleted an
-- hour later.
create function tunebase_internal.cancel_file_validation() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
  v_check tunebase_internal.file_validations;
begin
  delete from tunebase_internal.file_row_hashes where file_id = new.id;
  delete from tunebase_internal.file_validations where file_id = new.id returning * into v_check;
  if found then
    insert into tunebase_internal.orphaned_objects (bucket, object, next_at)
    select 'tunebase-datasets', s ->> 'object', now() from jsonb_array_elements(v_check.sources) s
    union
    select 'tunebase-datasets', new.object, now() + interval '1 hour' where v_check.is_copied
    union
    select 'tunebase-datasets', v_check.converted_object, now() + interval '1 hour' where v_check.converted_object is not null
    on conflict do nothing;
  end if;
  return null;
end $$;
