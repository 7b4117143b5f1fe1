-- Deletes a stored completion. Raises completion_not_found.
create function tunebase_internal.delete_completion(p_caller jsonb, p_id uuid) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'files:write');
begin
  delete from tunebase.stored_completions where id = p_id and project_id = v_project_id;
  if not found then
    perform tunebase_internal.raise_api_error('completion_not_found');
  end if;
end $$;
