-- A model by name: {offered} for a base model, {own} for a fine-tune. Raises model_not_found.
create function tunebase_internal.find_model(p_caller jsonb, p_name text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'models:read');
  v_adapter tunebase.adapters;
begin
  select * into v_adapter from tunebase.adapters
  where name = p_name and project_id = v_project_id and deleted_at is null;
  if found then
    return jsonb_build_object('own', tunebase_internal.fine_tune_json(v_adapter));
  end if;
  return jsonb_build_object('offered', tunebase_internal.require_base_model(p_name));
end $$;
