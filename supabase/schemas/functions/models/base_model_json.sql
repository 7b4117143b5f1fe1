-- A base model for the API. plpgsql, because it caches its plan.
create function tunebase_internal.base_model_json(p_model tunebase.base_models) returns jsonb
language plpgsql stable set search_path = ''
as $$
begin
  return to_jsonb(p_model) || jsonb_build_object('servable_reason', tunebase_internal.unservable_reason(p_model, null));
end $$;
