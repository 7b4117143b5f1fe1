-- Locks an attempt's job, then the attempt; null if it does not exist. Not `for update`: a concurrent foreign key check (a
-- notification of the job, say) would block it, and would make a dispatcher skip the job.
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
