-- The calling user. Raises user_token_required for an API key, and invalid_token if the user was deleted.
create function tunebase_internal.require_user_id(p_caller jsonb) returns uuid
language plpgsql stable set search_path = ''
as $$
begin
  if p_caller ->> 'user_id' is null then
    perform tunebase_internal.raise_api_error('user_token_required');
  end if;
  perform tunebase_internal.require_existing_user((p_caller ->> 'user_id')::uuid);
  return (p_caller ->> 'user_id')::uuid;
end $$;
