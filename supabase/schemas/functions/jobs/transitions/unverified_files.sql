-- The paths of `p_files` ([{path, bytes, sha256}]) that were not read back from Storage with that size and SHA-256, as one
-- text; null when all were.
create function tunebase_internal.unverified_files(p_attempt_id uuid, p_files jsonb) returns text
language plpgsql stable set search_path = ''
as $$
begin
  return (
    select string_agg(f ->> 'path', ', ')
    from jsonb_array_elements(p_files) f
    where not exists (
      select from tunebase_internal.verified_files v
      where v.attempt_id = p_attempt_id and v.path = f ->> 'path'
        and v.bytes = (f ->> 'bytes')::bigint and v.sha256 = f ->> 'sha256'
    )
  );
end $$;
