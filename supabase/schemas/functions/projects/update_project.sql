-- p_changes: any of {name, max_running, spend_cap_usd, store_completions, completion_retention_days}; absent fields keep their value, and an explicit null removes the cap.
-- Raises spend_cap_too_high if the cap exceeds the operator's limit.
create function tunebase_internal.update_project(p_caller jsonb, p_id uuid, p_changes jsonb) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_version integer;
  v_cap numeric := (p_changes ->> 'spend_cap_usd')::numeric;
  v_old_cap numeric;
  v_max numeric;
begin
  perform tunebase_internal.authorize_project(p_caller, p_id, 'project:admin');
  select version, spend_cap_usd into v_version, v_old_cap from tunebase.projects where id = p_id for no key update;
  perform tunebase_internal.require_version(p_caller, v_version);
  if p_changes ? 'spend_cap_usd' then
    select max_spend_cap_usd into strict v_max from tunebase_internal.settings;
    -- The operator may have set a higher cap, which a client can send back unchanged.
    if (v_cap is null or v_cap > v_max) and v_max is not null and v_cap is distinct from v_old_cap then
      perform tunebase_internal.raise_api_error('spend_cap_too_high', jsonb_build_object(
        'param', 'limits.spent_usd', 'value', v_cap, 'max', v_max
      ));
    end if;
  end if;
  update tunebase.projects
  set version = version + 1,
    name = coalesce(p_changes ->> 'name', name),
    max_running = coalesce((p_changes ->> 'max_running')::integer, max_running),
    store_completions = coalesce((p_changes ->> 'store_completions')::boolean, store_completions),
    completion_retention_days = coalesce((p_changes ->> 'completion_retention_days')::integer, completion_retention_days),
    spend_cap_usd = case when p_changes ? 'spend_cap_usd' then v_cap else spend_cap_usd end,
    -- Warn again for a new cap.
    budget_warned_month = case when p_changes ? 'spend_cap_usd' then null else budget_warned_month end
  where id = p_id;
  return tunebase_internal.get_project(p_caller, p_id);
end $$;
