-- Leases the answer that is due and starts its inference request, or returns null when none is due. Returns {evaluation_id,
-- line, model_number, lease, prompt, expected, is_json, graders, sampling, model}, where `model` is what start_inference
-- returns; or {evaluation_id, failed: {code, detail}} if its model can no longer be called or the project's cap is reached.
-- The caller must then call end_evaluation, which takes its locks in another order.
create function tunebase_internal.claim_evaluation_answer(p_lease_seconds integer) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_item tunebase_internal.evaluation_queue;
  v_evaluation tunebase.evaluations;
  v_row tunebase.evaluation_rows;
  v_model jsonb;
  v_message text;
  v_detail text;
begin
  select * into v_item from tunebase_internal.evaluation_queue
  where next_at <= now() order by next_at limit 1 for update skip locked;
  if not found then
    return null;
  end if;
  select * into v_evaluation from tunebase.evaluations where id = v_item.evaluation_id;
  select * into v_row from tunebase.evaluation_rows where evaluation_id = v_item.evaluation_id and line = v_item.line;
  begin
    if exists (select from tunebase.projects where id = v_evaluation.project_id and archived_at is not null) then
      perform tunebase_internal.raise_api_error('project_archived');
    end if;
    v_model := tunebase_internal.insert_inference_request(
      v_evaluation.project_id, v_evaluation.api_key_id, v_evaluation.user_id, jsonb_build_object(
        'model', v_evaluation.models[v_item.model_number], 'stream', false,
        -- A token is at least a byte.
        'max_prompt_tokens', octet_length(v_row.prompt::text), 'prompts', 1, 'choices', 1,
        'max_completion_tokens', v_evaluation.sampling -> 'max_completion_tokens'
      )
    );
  exception when sqlstate 'TB000' then
    get stacked diagnostics v_message = message_text, v_detail = pg_exception_detail;
    update tunebase_internal.evaluation_queue set next_at = now() + make_interval(secs => p_lease_seconds)
    where evaluation_id = v_item.evaluation_id and line = v_item.line and model_number = v_item.model_number;
    return jsonb_build_object(
      'evaluation_id', v_item.evaluation_id, 'failed', jsonb_build_object('code', v_message, 'detail', v_detail::jsonb)
    );
  end;
  update tunebase_internal.evaluation_queue
  set lease = gen_random_uuid(), next_at = now() + make_interval(secs => p_lease_seconds),
    request_id = (v_model ->> 'id')::uuid
  where evaluation_id = v_item.evaluation_id and line = v_item.line and model_number = v_item.model_number
  returning * into v_item;
  return jsonb_build_object(
    'evaluation_id', v_item.evaluation_id, 'line', v_item.line, 'model_number', v_item.model_number, 'lease', v_item.lease,
    'prompt', v_row.prompt, 'expected', v_row.expected, 'is_json', v_row.is_json, 'graders', v_evaluation.graders,
    'sampling', v_evaluation.sampling, 'model', v_model
  );
end $$;
