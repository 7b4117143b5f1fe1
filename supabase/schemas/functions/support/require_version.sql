-- Raises precondition_failed if the request's If-Match names other versions of the row than this one. Call it with the row
-- locked, so that of two edits of one version the second is refused. Whoever changes the row sets `version = version + 1`.
create function tunebase_internal.require_version(p_caller jsonb, p_version integer) returns void
language plpgsql immutable set search_path = ''
as $$
begin
  if p_caller ? 'if_match' and not p_version::text = any (string_to_array(p_caller ->> 'if_match', ',')) then
    perform tunebase_internal.raise_api_error('precondition_failed');
  end if;
end $$;
