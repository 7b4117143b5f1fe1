-- Counts an email that a caller requests. Raises email_not_member or email_limit_reached.
create function tunebase_internal.require_email(p_project_id uuid, p_address text, p_is_test boolean) returns void
language plpgsql set search_path = ''
as $$
begin
  if not tunebase_internal.is_member_email(p_project_id, p_address) then
    perform tunebase_internal.raise_api_error('email_not_member', jsonb_build_object('address', p_address));
  elsif not tunebase_internal.count_email(p_address, p_is_test) then
    perform tunebase_internal.raise_api_error('email_limit_reached', jsonb_build_object(
      'seconds', ceil(extract(epoch from date_trunc('hour', now()) + interval '1 hour' - now()))
    ));
  end if;
end $$;
