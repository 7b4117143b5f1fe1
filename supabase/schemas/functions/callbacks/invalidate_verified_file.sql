-- A verified file turned out to be wrong: it is no longer verified, and the caller may remove it. Returns false when the
-- attempt has ended or the fencing token is stale: then the file is not the caller's to touch.
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
