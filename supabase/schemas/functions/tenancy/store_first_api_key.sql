-- Stores a key by its SHA-256 alone; the key itself is shown once, by whoever made it.
create function tunebase_internal.store_first_api_key(
  p_project_id uuid, p_name text, p_scopes text[], p_hash bytea, p_hint text, p_created_by uuid default null
) returns uuid
language plpgsql security definer set search_path = ''
as $$
declare
  v_id uuid := tunebase_internal.uuid7();
begin
  insert into tunebase.api_keys (id, project_id, name, scopes, hint, created_by)
  values (v_id, p_project_id, p_name, p_scopes, p_hint, p_created_by);
  insert into tunebase_internal.api_key_hashes (hash, api_key_id) values (p_hash, v_id);
  return v_id;
end $$;
