-- Authorizes the caller for a scope and returns the project. Raises invalid_api_key, project_not_found, insufficient_scope,
-- insufficient_role or project_archived.
create function tunebase_internal.authorize(p_caller jsonb, p_scope text) returns uuid
language plpgsql security definer set search_path = ''
as $$
declare
  v_who record;
begin
  v_who := tunebase_internal.identify(p_caller);
  if v_who.project_id is null then
    perform tunebase_internal.raise_api_error('project_not_found');
  elsif v_who.role is null and not p_scope = any ((v_who.api_key).scopes) then
    perform tunebase_internal.raise_api_error('insufficient_scope', jsonb_build_object('scope', p_scope));
  elsif v_who.role is not null and not tunebase_internal.role_allows(v_who.role, p_scope) then
    perform tunebase_internal.raise_api_error('insufficient_role', jsonb_build_object('scope', p_scope, 'role', v_who.role));
  elsif v_who.archived and p_scope not like '%:read' and p_scope not like '%:admin' then
    perform tunebase_internal.raise_api_error('project_archived');
  end if;
  return v_who.project_id;
end $$;
