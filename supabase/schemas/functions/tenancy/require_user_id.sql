-- The user who calls. An API key is nobody: refused with user_token_required.
create function tunebase_internal.require_user_id(p_caller jsonb) returns uuid
language plpgsql stable set search_path = ''
as $$
begin
  if p_caller ->> 'user_id' is null then
    perform tunebase_internal.raise_api_error('user_token_required');
  end if;
  return (p_caller ->> 'user_id')::uuid;
end $$;
