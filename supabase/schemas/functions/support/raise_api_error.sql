-- Raises an error of the API's catalog (`_shared/contracts/error_codes.ts`); p_detail fills in its message.
create function tunebase_internal.raise_api_error(p_code text, p_detail jsonb default '{}') returns void
language plpgsql set search_path = ''
as $$
begin
  raise exception using errcode = 'TB000', message = p_code, detail = p_detail::text;
end $$;
