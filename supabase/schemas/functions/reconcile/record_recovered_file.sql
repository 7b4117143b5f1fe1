-- A file was read back from Storage with this size and hash, after its worker was lost.
create function tunebase_internal.record_recovered_file(p_attempt_id uuid, p_file jsonb) returns void
language sql security definer set search_path = ''
as $$
  insert into tunebase_internal.verified_files (attempt_id, path, bytes, sha256)
  values (p_attempt_id, p_file ->> 'path', (p_file ->> 'bytes')::bigint, p_file ->> 'sha256')
  on conflict (attempt_id, path) do update
  set bytes = excluded.bytes, sha256 = excluded.sha256, verified_at = now()
$$;
