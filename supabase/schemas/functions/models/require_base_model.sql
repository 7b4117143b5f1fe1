-- An enabled base model for the API. Raises model_not_found.
create function tunebase_internal.require_base_model(p_id text) returns jsonb
language plpgsql set search_path = ''
as $$
declare
  v_model tunebase.base_models;
begin
  select * into v_model from tunebase.base_models where id = p_id and enabled;
  if not found then
    perform tunebase_internal.raise_api_error('model_not_found', jsonb_build_object(
      'model', p_id,
      'offered', coalesce((select jsonb_agg(id order by id) from tunebase.base_models where enabled), '[]')
    ));
  end if;
  return tunebase_internal.base_model_json(v_model);
end $$;
