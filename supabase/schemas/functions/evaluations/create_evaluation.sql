-- Creates an evaluation and queues its answers. p_evaluation: {name, file_id, models, graders, sampling, metadata, file_rows,
-- rows: [{line, prompt, expected, is_json}]}. A repeated request returns the evaluation that it created before. Raises model_not_found,
-- model_not_servable, file_not_found or quota_exceeded.
create function tunebase_internal.create_evaluation(p_caller jsonb, p_evaluation jsonb) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'inference');
  v_max_running constant integer := 10;
  v_models text[] := array(select jsonb_array_elements_text(p_evaluation -> 'models'));
  v_model text;
  v_id uuid := tunebase_internal.find_created_resource(p_caller);
  v_evaluation tunebase.evaluations;
begin
  select * into v_evaluation from tunebase.evaluations where id = v_id and project_id = v_project_id;
  if found then
    return tunebase_internal.evaluation_json(v_evaluation);
  end if;
  -- Two requests must not both pass the limit.
  perform from tunebase.projects where id = v_project_id for no key update;
  if (select count(*) from tunebase.evaluations where project_id = v_project_id and status = 'running') >= v_max_running then
    perform tunebase_internal.raise_api_error('quota_exceeded', jsonb_build_object(
      'what', 'running evaluations', 'limit', v_max_running, 'used', v_max_running, 'fix', 'Wait for one to end, or cancel one.'
    ));
  end if;
  foreach v_model in array v_models loop
    perform tunebase_internal.require_servable_model(v_project_id, v_model);
  end loop;
  perform tunebase_internal.require_file(v_project_id, (p_evaluation ->> 'file_id')::uuid);
  insert into tunebase.evaluations (
    project_id, api_key_id, user_id, name, file_id, models, graders, sampling, metadata, file_rows, row_count
  ) values (
    v_project_id,
    (select api_key_id from tunebase_internal.api_key_hashes where hash = decode(p_caller ->> 'key_hash', 'hex')),
    (p_caller ->> 'user_id')::uuid, p_evaluation ->> 'name', (p_evaluation ->> 'file_id')::uuid, v_models,
    p_evaluation -> 'graders', p_evaluation -> 'sampling', p_evaluation -> 'metadata',
    (p_evaluation ->> 'file_rows')::integer, jsonb_array_length(p_evaluation -> 'rows')
  ) returning * into v_evaluation;
  insert into tunebase.evaluation_rows (evaluation_id, project_id, line, prompt, expected, is_json)
  select v_evaluation.id, v_project_id, (r ->> 'line')::integer, r -> 'prompt', r ->> 'expected', (r ->> 'is_json')::boolean
  from jsonb_array_elements(p_evaluation -> 'rows') r;
  -- The oldest due answer is claimed first. One row every 100 ms, so that a large evaluation does not hold up others.
  insert into tunebase_internal.evaluation_queue (evaluation_id, line, model_number, next_at)
  select v_evaluation.id, (r ->> 'line')::integer, model_number, now() + (number - 1) * interval '100 ms'
  from jsonb_array_elements(p_evaluation -> 'rows') with ordinality r (r, number),
    generate_series(1, cardinality(v_models)) model_number;
  perform tunebase_internal.record_created_resource(p_caller, v_evaluation.id);
  return tunebase_internal.evaluation_json(v_evaluation);
end $$;
