-- For jobs that claim_dispatch has chosen and locked: fails those whose cap is spent, and puts off those whose money other
-- jobs hold. Returns those that may run, with max_seconds, null where no cap limits them.
create function tunebase_internal.settle_unaffordable(p_job_ids uuid[])
returns table (job_id uuid, max_seconds integer)
language plpgsql set search_path = ''
as $$
declare
  v_budget record;
begin
  for v_budget in
    select x.id, b.verdict, b.max_seconds, b.message
    from unnest(p_job_ids) x (id) left join tunebase_internal.dispatch_budgets(p_job_ids) b on b.job_id = x.id
  loop
    if v_budget.verdict = 'fail' then
      perform tunebase_internal.fail_job(
        v_budget.id, 'spend_cap', v_budget.message,
        'Raise the cap, or wait for the next month if it is the project''s; then create the job again.'
      );
    elsif v_budget.verdict = 'wait' then
      update tunebase.jobs set due_at = now() + interval '30 seconds', status_reason = v_budget.message where id = v_budget.id;
    else
      job_id := v_budget.id;
      max_seconds := v_budget.max_seconds;
      return next;
    end if;
  end loop;
end $$;
