-- A file of the attempt was read back from Storage with this size and hash.
create function tunebase_internal.record_verified_file(p_attempt_id uuid, p_worker_id text, p_fence integer, p_file jsonb) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_attempt tunebase.attempts := tunebase_internal.lock_attempt(p_attempt_id);
  v_directive text := tunebase_internal.worker_directive(v_attempt, p_worker_id, p_fence);
begin
  if v_directive <> 'stop' then
    insert into tunebase_internal.verified_files (attempt_id, path, bytes, sha256)
    values (p_attempt_id, p_file ->> 'path', (p_file ->> 'bytes')::bigint, p_file ->> 'sha256')
    on conflict (attempt_id, path) do update
    set bytes = excluded.bytes, sha256 = excluded.sha256, verified_at = now();
  end if;
  return jsonb_build_object('directive', v_directive);
end $$;
