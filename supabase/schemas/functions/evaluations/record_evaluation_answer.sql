-- Ends the inference request of a claimed answer, which charges for it, and stores the answer if the lease still holds.
-- p_request: the arguments of finish_inference. p_answer is one of: {answer, finish_reason, scores}; {error};
-- {error, retry_seconds}: retry after that time, at most ten times; {ends: {code, message}}: end the evaluation, because
-- every other row would fail in the same way. The last answer ends the evaluation.
create function tunebase_internal.record_evaluation_answer(
  p_evaluation_id uuid, p_line integer, p_model_number integer, p_lease uuid, p_request_id uuid, p_request jsonb, p_answer jsonb
) returns boolean
language plpgsql security definer set search_path = ''
as $$
declare
  v_max_failures constant integer := 10;
  v_item tunebase_internal.evaluation_queue;
  v_evaluation tunebase.evaluations;
  v_cost numeric;
begin
  perform tunebase_internal.finish_inference(p_request_id, p_request);
  -- Locks the evaluation first, as cancellation does.
  select * into v_evaluation from tunebase.evaluations where id = p_evaluation_id for no key update;
  select * into v_item from tunebase_internal.evaluation_queue
  where evaluation_id = p_evaluation_id and line = p_line and model_number = p_model_number and lease = p_lease for update;
  if not found then
    return false;
  end if;
  if p_answer -> 'ends' is not null then
    perform tunebase_internal.end_evaluation(p_evaluation_id, 'failed', p_answer -> 'ends');
    return true;
  end if;
  if p_answer -> 'retry_seconds' is not null and v_item.failures + 1 < v_max_failures then
    update tunebase_internal.evaluation_queue
    set failures = failures + 1, lease = null,
      next_at = now() + make_interval(secs => (p_answer ->> 'retry_seconds')::integer)
    where evaluation_id = p_evaluation_id and line = p_line and model_number = p_model_number;
    return true;
  end if;
  select cost_usd into v_cost from tunebase.inference_requests where id = p_request_id;
  insert into tunebase.evaluation_answers (
    evaluation_id, line, model_number, project_id, answer, finish_reason, error, scores, prompt_tokens, completion_tokens,
    seconds, cost_usd
  ) values (
    p_evaluation_id, p_line, p_model_number, v_evaluation.project_id, p_answer ->> 'answer', p_answer ->> 'finish_reason',
    p_answer ->> 'error', nullif(p_answer -> 'scores', 'null'), (p_request ->> 'prompt_tokens')::integer,
    (p_request ->> 'completion_tokens')::integer, (p_request ->> 'seconds')::numeric, coalesce(v_cost, 0)
  );
  delete from tunebase_internal.evaluation_queue
  where evaluation_id = p_evaluation_id and line = p_line and model_number = p_model_number;
  update tunebase.evaluations set answered = answered + 1 where id = p_evaluation_id returning * into v_evaluation;
  if v_evaluation.answered = v_evaluation.row_count * cardinality(v_evaluation.models) then
    perform tunebase_internal.end_evaluation(p_evaluation_id, 'succeeded', null);
  end if;
  return true;
end $$;
