-- Stores a key that the API has just made, by its hash. p_key: {name, scopes, expires_at, hint}.
create function tunebase_internal.create_api_key(p_caller jsonb, p_key jsonb, p_hash text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'project:admin');
  v_key tunebase.api_keys;
  v_used integer;
begin
  perform from tunebase.projects where id = v_project_id for no key update;
  select count(*) into v_used from tunebase.api_keys where project_id = v_project_id and revoked_at is null;
  if v_used >= 100 then
    perform tunebase_internal.raise_api_error('quota_exceeded', jsonb_build_object(
      'what', 'API keys per project', 'limit', 100, 'used', v_used, 'fix', 'Revoke one and try again.'
    ));
  end if;
  insert into tunebase.api_keys (project_id, name, scopes, hint, expires_at, created_by)
  values (
    v_project_id, p_key ->> 'name', array(select jsonb_array_elements_text(p_key -> 'scopes')), p_key ->> 'hint',
    (p_key ->> 'expires_at')::timestamptz, (p_caller ->> 'user_id')::uuid
  )
  returning * into v_key;
  insert into tunebase_internal.api_key_hashes (hash, api_key_id) values (decode(p_hash, 'hex'), v_key.id);
  return to_jsonb(v_key);
end $$;
