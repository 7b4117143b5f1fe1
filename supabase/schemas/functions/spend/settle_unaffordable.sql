-- For jobs that claim_dispatch has chosen and locked: fails those without budget, postpones those whose budget other jobs
-- hold, and logs when a cap limits an attempt. Returns the jobs that may run, with max_seconds (null: no cap).
create function tunebase_internal.settle_unaffordable(p_job_ids uuid[])
returns table (job_id uuid, max_seconds integer)
language plpgsql set search_path = ''
as $$
declare
  v_budget record;
begin
  for v_budget in
    select x.id, b.verdict, b.max_seconds, b.message, m.execution_timeout_seconds as model_seconds
    from unnest(p_job_ids) x (id)
    left join tunebase_internal.dispatch_budgets(p_job_ids) b on b.job_id = x.id
    left join tunebase.jobs j on j.id = b.job_id
    left join tunebase.base_models m on m.id = j.base_model
  loop
    if v_budget.verdict = 'fail' then
      perform tunebase_internal.fail_job(
        v_budget.id, 'spend_cap', v_budget.message,
        'Raise the cap (or wait until next month, if it is the project''s), then create the job again.'
      );
    elsif v_budget.verdict = 'wait' then
      update tunebase.jobs set due_at = now() + interval '30 seconds', status_reason = v_budget.message where id = v_budget.id;
    else
      if v_budget.max_seconds < v_budget.model_seconds then
        perform tunebase_internal.add_event(v_budget.id, 'info', format(
          'This attempt is limited to %s minutes by its spend caps.', floor(v_budget.max_seconds / 60.0)
        ));
      end if;
      job_id := v_budget.id;
      max_seconds := v_budget.max_seconds;
      return next;
    end if;
  end loop;
end $$;
