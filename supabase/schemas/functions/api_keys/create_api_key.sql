-- Stores an API key that the API has generated. p_key: {name, scopes, expires_at, hint}.
create function tunebase_internal.create_api_key(p_caller jsonb, p_key jsonb, p_hash text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'project:admin');
begin
  return to_jsonb(tunebase_internal.insert_api_key(
    v_project_id, p_key || jsonb_build_object('created_by', p_caller ->> 'user_id'), decode(p_hash, 'hex')
  ));
end $$;
