-- For the operator (`task operator api-key`): stores a key for the project that this user owns. Returns the key's id.
create function tunebase_internal.store_owner_api_key(p_email text, p_hash bytea, p_hint text) returns uuid
language plpgsql set search_path = ''
as $$
declare
  v_user_id uuid := tunebase_internal.find_user(p_email);
  v_project_id uuid := tunebase_internal.find_owned_project(v_user_id);
begin
  if v_project_id is null then
    raise exception '% owns no project. Run add_owner first: task operator owner %', p_email, p_email;
  end if;
  return tunebase_internal.store_first_api_key(
    v_project_id, 'First key',
    '{files:read,files:write,jobs:read,jobs:write,models:read,inference,webhooks:read,webhooks:write}', p_hash, p_hint, v_user_id
  );
end $$;
