create function tunebase_internal.delete_orphaned_objects(p_bucket text, p_objects jsonb) returns void
language sql security definer set search_path = ''
as $$
  delete from tunebase_internal.orphaned_objects where bucket = p_bucket and object in (select jsonb_array_elements_text(p_objects))
$$;
