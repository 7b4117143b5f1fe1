-- A base model for the API.
create function tunebase_internal.base_model_json(p_model tunebase.base_models) returns jsonb
language sql stable set search_path = ''
as $$
  select to_jsonb(p_model) || jsonb_build_object('servable_reason', tunebase_internal.unservable_reason(p_model, null))
$$;
