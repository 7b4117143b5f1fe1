-- Ends a running evaluation and empties its queue. p_error: null, or {code, message}. Answers that are being generated are discarded.
create function tunebase_internal.end_evaluation(p_id uuid, p_status text, p_error jsonb) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  update tunebase.evaluations
  set status = p_status, error = p_error, finished_at = now()
  where id = p_id and status = 'running';
  if found then
    delete from tunebase_internal.evaluation_queue where evaluation_id = p_id;
  end if;
end $$;
