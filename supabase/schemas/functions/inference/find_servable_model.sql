-- A model that the caller may call (require_servable_model), with its project.
create function tunebase_internal.find_servable_model(p_caller jsonb, p_name text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'inference');
begin
  return tunebase_internal.require_servable_model(v_project_id, p_name)
    || jsonb_build_object('id', tunebase_internal.uuid7(), 'project_id', v_project_id);
end $$;
