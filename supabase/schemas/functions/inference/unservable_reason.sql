-- Why the operator's endpoint cannot serve a model; null if it can. p_training: the trainer's hyperparameters of its adapter;
-- null for a base model. plpgsql, because it caches its plan: language sql would plan it at every call.
create function tunebase_internal.unservable_reason(p_base tunebase.base_models, p_training jsonb) returns text
language plpgsql immutable set search_path = ''
as $$
begin
  return case
    when p_base.inference_endpoint_id is null then format('This server has no inference endpoint for %s.', p_base.id)
    when p_training is null then null
    -- vLLM rejects such adapters, or loads them without their expert weights and gives wrong answers.
    when p_training ->> 'lora_targets' = 'experts' then
      'Its adapter changes the model''s experts and must be merged into the base model before serving.'
    when p_training ->> 'lora_variant' = 'dora' then 'Its adapter uses DoRA and must be merged into the base model before serving.'
    when tunebase_internal.adapter_rank(p_training) > p_base.inference_max_rank then
      format(
        'Its adapter has rank %s; the endpoint serves ranks up to %s.',
        tunebase_internal.adapter_rank(p_training), p_base.inference_max_rank
      )
    when p_training ->> 'base_model' is distinct from p_base.source
      or p_training ->> 'base_revision' is distinct from p_base.revision then
      format('It was trained on a revision of %s other than the one that the endpoint serves.', p_base.id)
  end;
end $$;
