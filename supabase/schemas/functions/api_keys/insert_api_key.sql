-- Stores an API key's SHA-256. p_key: {name, scopes, expires_at, hint, created_by}. Raises quota_exceeded at 100 active keys.
create function tunebase_internal.insert_api_key(p_project_id uuid, p_key jsonb, p_hash bytea) returns tunebase.api_keys
language plpgsql set search_path = ''
as $$
declare
  v_key tunebase.api_keys;
  v_used integer;
begin
  perform from tunebase.projects where id = p_project_id for no key update;
  select count(*) into v_used from tunebase.api_keys where project_id = p_project_id and revoked_at is null;
  if v_used >= 100 then
    perform tunebase_internal.raise_api_error('quota_exceeded', jsonb_build_object(
      'what', 'API keys per project', 'limit', 100, 'used', v_used, 'fix', 'Revoke one and try again.'
    ));
  end if;
  insert into tunebase.api_keys (project_id, name, scopes, hint, expires_at, created_by)
  values (
    p_project_id, p_key ->> 'name', array(select jsonb_array_elements_text(p_key -> 'scopes')), p_key ->> 'hint',
    (p_key ->> 'expires_at')::timestamptz, (p_key ->> 'created_by')::uuid
  )
  returning * into v_key;
  insert into tunebase_internal.api_key_hashes (hash, api_key_id) values (p_hash, v_key.id);
  return v_key;
end $$;
