-- A stored completion. Raises completion_not_found.
create function tunebase_internal.get_completion(p_caller jsonb, p_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'files:read');
  v_completion tunebase.stored_completions;
begin
  select * into v_completion from tunebase.stored_completions
  where id = p_id and project_id = v_project_id and expires_at > now();
  if not found then
    perform tunebase_internal.raise_api_error('completion_not_found');
  end if;
  return to_jsonb(v_completion);
end $$;
