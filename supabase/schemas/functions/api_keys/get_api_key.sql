create function tunebase_internal.get_api_key(p_caller jsonb, p_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'project:read');
  v_key tunebase.api_keys;
begin
  select * into v_key from tunebase.api_keys where id = p_id and project_id = v_project_id;
  if not found then
    perform tunebase_internal.raise_api_error('api_key_not_found');
  end if;
  return to_jsonb(v_key);
end $$;
