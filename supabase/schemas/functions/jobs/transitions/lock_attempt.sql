-- Locks an attempt and its job; null when there is none. Not `for update`: a foreign key that somebody checks at the moment
-- (a notification of the job is written) would hold it up, and have a dispatcher skip it.
create function tunebase_internal.lock_attempt(p_attempt_id uuid) returns tunebase.attempts
language plpgsql set search_path = ''
as $$
declare
  v_attempt tunebase.attempts;
begin
  perform 1 from tunebase.jobs
  where id = (select job_id from tunebase.attempts where id = p_attempt_id)
  for no key update;
  select * into v_attempt from tunebase.attempts where id = p_attempt_id for no key update;
  return v_attempt;
end $$;
