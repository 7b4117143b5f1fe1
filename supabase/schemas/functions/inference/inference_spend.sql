-- The cost of a project's finished inference requests this month (UTC).
create function tunebase_internal.inference_spend(p_project_id uuid) returns numeric
language plpgsql stable set search_path = ''
as $$
begin
  return coalesce((
    select cost_usd from tunebase_internal.inference_spend
    where project_id = p_project_id and month = date_trunc('month', now() at time zone 'utc')::date
  ), 0);
end $$;
