-- The caller, their project and permissions, and whether they can create projects.
create function tunebase_internal.get_caller(p_caller jsonb) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_who record;
  v_project tunebase.projects;
begin
  v_who := tunebase_internal.identify(p_caller);
  select * into v_project from tunebase.projects where id = v_who.project_id;
  return jsonb_build_object(
    'user', (
      select jsonb_build_object('id', u.id, 'email', u.email) from auth.users u where u.id = (p_caller ->> 'user_id')::uuid
    ),
    'api_key', case when (v_who.api_key).id is not null then to_jsonb(v_who.api_key) end,
    'scopes', case
      when (v_who.api_key).id is not null then to_jsonb((v_who.api_key).scopes)
      else coalesce((
        select jsonb_agg(s order by n) from unnest(tunebase_internal.scopes()) with ordinality x (s, n)
        where tunebase_internal.role_allows(v_who.role, s)
      ), '[]')
    end,
    'project', case when v_project.id is not null then
      tunebase_internal.project_json(v_project, v_who.role) || jsonb_build_object('use', tunebase_internal.project_usage(v_project.id))
    end,
    'can_create_project', coalesce(tunebase_internal.can_create_project((p_caller ->> 'user_id')::uuid), false)
      and p_caller ? 'user_id',
    'invitations', tunebase_internal.list_user_invitations(p_caller)
  );
end $$;
