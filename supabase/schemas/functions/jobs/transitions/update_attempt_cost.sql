-- Updates the cost of an attempt and of its job, the sum over its attempts. plpgsql, because it caches its plans: a language sql
-- function is planned at every call, which took 0.4 ms of a report's 1.5.
create function tunebase_internal.update_attempt_cost(p_attempt_id uuid) returns void
language plpgsql set search_path = ''
as $$
begin
  update tunebase.attempts a set cost_usd = tunebase_internal.attempt_cost(a)
  where id = p_attempt_id and started_at is not null;

  update tunebase.jobs j
  set cost_usd = (select sum(a.cost_usd) from tunebase.attempts a where a.job_id = j.id)
  where j.id = (select job_id from tunebase.attempts where id = p_attempt_id);
end $$;
