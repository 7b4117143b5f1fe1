-- The project of a path, if the caller may use it with this scope: a key its own, a user any they are a member of.
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
