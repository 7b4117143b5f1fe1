-- Counts an update of a row, and refuses it (or a delete) with precondition_failed where If-Match asked for another version. The row is
-- locked, so that of two who edit the same version one is told.
create function tunebase_internal.check_and_bump_version() returns trigger
language plpgsql set search_path = ''
as $$
declare
  v_wanted text := nullif(current_setting('tunebase.if_match', true), '');
begin
  if v_wanted is not null and not old.version::text = any (string_to_array(v_wanted, ',')) then
    perform tunebase_internal.raise_api_error('precondition_failed');
  end if;
  -- What follows in this transaction is the same edit.
  perform set_config('tunebase.if_match', '', true);
  if tg_op = 'DELETE' then
    return old;
  end if;
  new.version := old.version + 1;
  return new;
end $$;
