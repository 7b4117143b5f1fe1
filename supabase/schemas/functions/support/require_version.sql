-- Raises precondition_failed if the request's If-Match does not include this version. Call it with the row locked, so that
-- only one of two concurrent edits succeeds. Every change of the row must set `version = version + 1`.
create function tunebase_internal.require_version(p_caller jsonb, p_version integer) returns void
language plpgsql immutable set search_path = ''
as $$
begin
  if p_caller ? 'if_match' and not p_version::text = any (string_to_array(p_caller ->> 'if_match', ',')) then
    perform tunebase_internal.raise_api_error('precondition_failed');
  end if;
end $$;
