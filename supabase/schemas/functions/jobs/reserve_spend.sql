-- What to reserve for a new job: the high end of its cost estimate, at most its own cap. Raises spend_cap_exceeded if that
-- does not fit under the project's cap. Locks the project's row only if it has a cap, so that two jobs cannot reserve the
-- same budget.
create function tunebase_internal.reserve_spend(p_project_id uuid, p_job jsonb) returns numeric
language plpgsql set search_path = ''
as $$
declare
  v_reserved numeric := least(
    coalesce(round((p_job #>> '{estimate,cost,usd,high}')::numeric, 4), 0), (p_job ->> 'spend_cap_usd')::numeric
  );
  v_cap numeric;
  v_spent numeric;
begin
  select spend_cap_usd into v_cap from tunebase.projects
  where id = p_project_id and spend_cap_usd is not null for no key update;
  if found then
    v_spent := tunebase_internal.project_spend(p_project_id);
    if v_spent + v_reserved > v_cap then
      perform tunebase_internal.raise_api_error(
        'spend_cap_exceeded', jsonb_build_object('cap', v_cap, 'spent', v_spent, 'reserved', v_reserved)
      );
    end if;
  end if;
  return v_reserved;
end $$;
