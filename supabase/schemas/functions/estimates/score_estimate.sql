-- A finished job's estimate compared with the actual values; null if the job had none. Call it once the job's attempts have
-- ended and their cost is final.
create function tunebase_internal.score_estimate(p_job tunebase.jobs) returns jsonb
language plpgsql stable set search_path = ''
as $$
declare
  v_seconds numeric;
begin
  select round(coalesce(sum(extract(epoch from ended_at - started_at)), 0), 1) into v_seconds
  from tunebase.attempts where job_id = p_job.id;
  return p_job.estimate || jsonb_build_object('score', jsonb_build_object(
    'tokens', tunebase_internal.estimate_accuracy(p_job.estimate #> '{tokens,total}', p_job.trained_tokens),
    'seconds', tunebase_internal.estimate_accuracy(p_job.estimate #> '{time,seconds}', v_seconds),
    'cost_usd', tunebase_internal.estimate_accuracy(p_job.estimate #> '{cost,usd}', p_job.cost_usd)
  ));
end $$;
