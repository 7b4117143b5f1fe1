-- Authorizes the caller for the project in a path: an API key for its own project, a user for any project they belong to.
create function tunebase_internal.authorize_project(p_caller jsonb, p_project_id uuid, p_scope text) returns uuid
language plpgsql security definer set search_path = ''
as $$
begin
  if p_caller ? 'key_hash' then
    if tunebase_internal.authorize(p_caller, p_scope) <> p_project_id then
      perform tunebase_internal.raise_api_error('project_not_found');
    end if;
    return p_project_id;
  end if;
  return tunebase_internal.authorize(p_caller || jsonb_build_object('project_id', p_project_id), p_scope);
end $$;
