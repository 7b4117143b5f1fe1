-- Raises store_not_enabled if the project does not store completions.
create function tunebase_internal.require_completion_storage(p_project_id uuid) returns void
language plpgsql stable set search_path = ''
as $$
begin
  if not (select store_completions from tunebase.projects where id = p_project_id) then
    perform tunebase_internal.raise_api_error('store_not_enabled', jsonb_build_object(
      'param', 'store', 'project', 'proj_' || replace(p_project_id::text, '-', '')
    ));
  end if;
end $$;
