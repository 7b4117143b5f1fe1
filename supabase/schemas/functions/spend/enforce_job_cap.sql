-- Warns at 80% of a job's cap and fails the job at 100%. Call it with the job locked.
create function tunebase_internal.enforce_job_cap(p_job tunebase.jobs) returns boolean
language plpgsql set search_path = ''
as $$
begin
  if p_job.cost_usd >= p_job.spend_cap_usd then
    perform tunebase_internal.fail_job(
      p_job.id, 'spend_cap',
      format('The job has cost %s USD and reached its spend cap of %s USD.', round(p_job.cost_usd, 2), round(p_job.spend_cap_usd, 2)),
      'The newest checkpoint is kept. Create the job again with a higher spend_cap_usd.'
    );
    perform tunebase_internal.request_attempt_cancellation(p_job.id);
    return true;
  end if;
  if p_job.cost_usd >= 0.8 * p_job.spend_cap_usd and p_job.budget_warned_at is null then
    update tunebase.jobs set budget_warned_at = now() where id = p_job.id;
    perform tunebase_internal.add_event(p_job.id, 'warn', format(
      'The job has cost %s USD, 80%% of its spend cap of %s USD.', round(p_job.cost_usd, 2), round(p_job.spend_cap_usd, 2)
    ));
  end if;
  return false;
end $$;
