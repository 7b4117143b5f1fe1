-- The evaluation, if it belongs to the caller's project. Raises evaluation_not_found.
create function tunebase_internal.authorize_evaluation(p_caller jsonb, p_id uuid, p_scope text) returns tunebase.evaluations
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, p_scope);
  v_evaluation tunebase.evaluations;
begin
  select * into v_evaluation from tunebase.evaluations where id = p_id and project_id = v_project_id;
  if not found then
    perform tunebase_internal.raise_api_error('evaluation_not_found');
  end if;
  return v_evaluation;
end $$;
