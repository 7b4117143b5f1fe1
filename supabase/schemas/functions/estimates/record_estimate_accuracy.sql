-- An estimate is scored in the transaction in which its job succeeds: its attempts have ended and their cost is settled.
create function tunebase_internal.record_estimate_accuracy() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
  v_seconds numeric;
begin
  select round(coalesce(sum(extract(epoch from ended_at - started_at)), 0), 1) into v_seconds
  from tunebase.attempts where job_id = new.id;
  new.estimate := new.estimate || jsonb_build_object('score', jsonb_build_object(
    'tokens', tunebase_internal.estimate_accuracy(new.estimate #> '{tokens,total}', new.trained_tokens),
    'seconds', tunebase_internal.estimate_accuracy(new.estimate #> '{time,seconds}', v_seconds),
    'cost_usd', tunebase_internal.estimate_accuracy(new.estimate #> '{cost,usd}', new.cost_usd)
  ));
  return new;
end $$;
