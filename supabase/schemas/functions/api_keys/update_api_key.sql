-- p_changes: any of {name, scopes, expires_at}; absent fields keep their value, and a null expires_at removes the expiry.
create function tunebase_internal.update_api_key(p_caller jsonb, p_id uuid, p_changes jsonb) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'project:admin');
  v_key tunebase.api_keys;
begin
  select * into v_key from tunebase.api_keys where id = p_id and project_id = v_project_id for update;
  if not found then
    perform tunebase_internal.raise_api_error('api_key_not_found');
  elsif v_key.revoked_at is not null then
    perform tunebase_internal.raise_api_error('api_key_revoked');
  end if;
  perform tunebase_internal.require_version(p_caller, v_key.version);
  update tunebase.api_keys
  set version = version + 1,
    name = coalesce(p_changes ->> 'name', name),
    scopes = case when p_changes ? 'scopes' then array(select jsonb_array_elements_text(p_changes -> 'scopes')) else scopes end,
    expires_at = case when p_changes ? 'expires_at' then (p_changes ->> 'expires_at')::timestamptz else expires_at end
  where id = p_id
  returning * into v_key;
  return to_jsonb(v_key);
end $$;
