-- For the operator: stores a key for a project without a caller. Returns the key's id.
create function tunebase_internal.store_first_api_key(
  p_project_id uuid, p_name text, p_scopes text[], p_hash bytea, p_hint text, p_created_by uuid default null
) returns uuid
language sql set search_path = ''
as $$
  select (tunebase_internal.insert_api_key(
    p_project_id,
    jsonb_build_object('name', p_name, 'scopes', p_scopes, 'hint', p_hint, 'created_by', p_created_by), p_hash
  )).id
$$;
