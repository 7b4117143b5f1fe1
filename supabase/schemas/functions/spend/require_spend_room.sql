-- Raises spend_cap_exceeded if a reservation that this transaction has written does not fit under the project's cap.
-- p_is_request: an inference request instead of a job. Call it last: its lock is held until the commit, so that two
-- transactions cannot reserve the same budget, and one project's reservations wait for each other. A lock of its own, so
-- that nothing else does.
create function tunebase_internal.require_spend_room(p_project_id uuid, p_reserved numeric, p_is_request boolean) returns void
language plpgsql set search_path = ''
as $$
declare
  v_cap numeric;
  v_spent numeric;
begin
  select spend_cap_usd into v_cap from tunebase.projects where id = p_project_id;
  if v_cap is null then
    return;
  end if;
  if p_reserved > 0 then
    perform pg_advisory_xact_lock(hashtextextended('tunebase spend ' || p_project_id, 0));
  end if;
  v_spent := tunebase_internal.project_spend(p_project_id) - p_reserved;
  if v_spent + p_reserved > v_cap then
    perform tunebase_internal.raise_api_error('spend_cap_exceeded', jsonb_build_object(
      'cap', v_cap, 'spent', round(v_spent, 4), 'reserved', round(p_reserved, 4), 'request', p_is_request
    ));
  end if;
end $$;
