create function tunebase_internal.require_existing_user(p_user_id uuid) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  perform from auth.users where id = p_user_id;
  if not found then
    perform tunebase_internal.raise_api_error('invalid_token');
  end if;
end $$;
