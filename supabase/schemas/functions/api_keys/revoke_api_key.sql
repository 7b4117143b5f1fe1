-- Revokes an API key. Its row stays as a record. Idempotent.
create function tunebase_internal.revoke_api_key(p_caller jsonb, p_id uuid) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'project:admin');
  v_version integer;
begin
  select version into v_version from tunebase.api_keys where id = p_id and project_id = v_project_id for no key update;
  if not found then
    perform tunebase_internal.raise_api_error('api_key_not_found');
  end if;
  perform tunebase_internal.require_version(p_caller, v_version);
  update tunebase.api_keys set revoked_at = now(), version = version + 1 where id = p_id and revoked_at is null;
  delete from tunebase_internal.api_key_hashes where api_key_id = p_id;
end $$;
