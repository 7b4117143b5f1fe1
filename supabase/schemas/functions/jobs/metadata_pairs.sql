-- The pairs of {"key": "value", …}, each as a hash.
create function tunebase_internal.metadata_pairs(p_metadata jsonb) returns uuid[]
language plpgsql immutable set search_path = ''
as $$
begin
  return array(select md5(jsonb_build_object(key, value)::text)::uuid from jsonb_each(p_metadata));
end $$;
