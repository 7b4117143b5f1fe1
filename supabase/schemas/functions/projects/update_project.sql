-- p_changes: any of {name, max_running, spend_cap_usd}; what is absent stays, and a cap of null is none.
create function tunebase_internal.update_project(p_caller jsonb, p_id uuid, p_changes jsonb) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_version integer;
begin
  perform tunebase_internal.authorize_project(p_caller, p_id, 'project:admin');
  select version into v_version from tunebase.projects where id = p_id for no key update;
  perform tunebase_internal.require_version(p_caller, v_version);
  update tunebase.projects
  set version = version + 1,
    name = coalesce(p_changes ->> 'name', name),
    max_running = coalesce((p_changes ->> 'max_running')::integer, max_running),
    spend_cap_usd = case when p_changes ? 'spend_cap_usd' then (p_changes ->> 'spend_cap_usd')::numeric else spend_cap_usd end,
    -- Another cap is warned of anew.
    budget_warned_month = case when p_changes ? 'spend_cap_usd' then null else budget_warned_month end
  where id = p_id;
  return tunebase_internal.get_project(p_caller, p_id);
end $$;
