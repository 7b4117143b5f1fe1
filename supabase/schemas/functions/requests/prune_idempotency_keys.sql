-- Forgets what is older than a day, some at a time. Returns how many.
create function tunebase_internal.prune_idempotency_keys(p_limit integer) returns integer
language plpgsql security definer set search_path = ''
as $$
declare
  v_requests integer;
  v_jobs integer;
begin
  delete from tunebase_internal.idempotency_keys where id in (
    select id from tunebase_internal.idempotency_keys where created_at < now() - interval '1 day'
    order by created_at limit p_limit for update skip locked
  );
  get diagnostics v_requests = row_count;
  delete from tunebase_internal.job_requests where job_id in (
    select job_id from tunebase_internal.job_requests where created_at < now() - interval '1 day'
    order by created_at limit p_limit for update skip locked
  );
  get diagnostics v_jobs = row_count;
  return v_requests + v_jobs;
end $$;
