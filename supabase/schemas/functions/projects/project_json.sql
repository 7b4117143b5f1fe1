create function tunebase_internal.project_json(p_project tunebase.projects, p_role text) returns jsonb
language sql stable set search_path = ''
as $$
  select to_jsonb(p_project) - 'budget_warned_month' || jsonb_build_object('role', p_role)
$$;
