-- Everything an estimate needs, in one call: {model, parent, training: {id, filename, bytes, object, report, sample},
-- validation}. p_model may be a fine-tune of the project: then `model` is its base and `parent` is {name, hyperparameters}.
-- Raises what create_job would raise.
create function tunebase_internal.get_estimate_inputs(
  p_caller jsonb, p_model text, p_training_file uuid, p_validation_file uuid
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'jobs:write');
  v_parent tunebase.adapters;
  v_model jsonb;
begin
  select * into v_parent from tunebase.adapters
  where name = p_model and project_id = v_project_id and deleted_at is null;
  v_model := tunebase_internal.require_base_model(coalesce(v_parent.base_model, p_model));
  perform tunebase_internal.require_training_file(v_project_id, p_training_file, 'training_file');
  if p_validation_file is not null then
    perform tunebase_internal.require_training_file(v_project_id, p_validation_file, 'validation_file');
  end if;
  return jsonb_build_object(
    'model', v_model,
    'parent', case when v_parent.id is not null then jsonb_build_object(
      'name', v_parent.name, 'hyperparameters', v_parent.manifest -> 'hyperparameters'
    ) end,
    'training', tunebase_internal.get_token_sample(p_training_file, v_model ->> 'tokenizer'),
    'validation', case when p_validation_file is not null then
      tunebase_internal.get_token_sample(p_validation_file, v_model ->> 'tokenizer')
    end
  );
end $$;
