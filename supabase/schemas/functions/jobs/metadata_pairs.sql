-- {"key": "value", …} as hashes of its pairs.
create function tunebase_internal.metadata_pairs(p_metadata jsonb) returns setof uuid
language sql immutable set search_path = ''
as $$
  select md5(jsonb_build_object(key, value)::text)::uuid from jsonb_each(p_metadata)
$$;
