-- Unmarks a verified file that turned out to be invalid, so that the caller can delete it. Returns false if the attempt has
-- ended or the fencing token is stale: then the caller must not touch the file.
create function tunebase_internal.invalidate_verified_file(p_attempt_id uuid, p_fence integer, p_path text) returns boolean
language plpgsql security definer set search_path = ''
as $$
declare
  v_attempt tunebase.attempts := tunebase_internal.lock_attempt(p_attempt_id);
begin
  if v_attempt.id is null or v_attempt.state = 'ended' or v_attempt.fence <> p_fence then
    return false;
  end if;
  delete from tunebase_internal.verified_files where attempt_id = p_attempt_id and path = p_path;
  return true;
end $$;
