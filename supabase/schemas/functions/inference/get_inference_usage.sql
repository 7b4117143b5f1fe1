-- Inference usage from p_from through p_to in p_time_zone, by model or API key (p_group_by), most expensive first.
-- A null API key means signed-in users. Raises invalid_time_zone.
create function tunebase_internal.get_inference_usage(
  p_caller jsonb, p_from date, p_to date, p_time_zone text, p_group_by text
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'jobs:read');
  v_range constant tstzrange := tunebase_internal.days_to_range(p_from, p_to, p_time_zone);
  v_begin constant timestamptz := lower(v_range);
  v_end constant timestamptz := upper(v_range);
begin
  return coalesce((
    select jsonb_agg(jsonb_build_object(
      'model', g.model, 'api_key_id', g.api_key_id, 'api_key_name', k.name, 'requests', g.requests,
      'prompt_tokens', g.prompt_tokens, 'completion_tokens', g.completion_tokens, 'seconds', g.seconds, 'cost_usd', g.cost_usd
    ) order by g.cost_usd desc, g.requests desc, g.model, g.api_key_id)
    from (
      select case when p_group_by = 'model' then u.model end as model,
        case when p_group_by = 'api_key' then u.api_key_id end as api_key_id,
        sum(u.requests) as requests, sum(u.prompt_tokens) as prompt_tokens, sum(u.completion_tokens) as completion_tokens,
        sum(u.seconds) as seconds, sum(u.cost_usd) as cost_usd
      from tunebase.inference_usage u
      where u.project_id = v_project_id and u.quarter_hour >= v_begin and u.quarter_hour < v_end
      group by 1, 2
      order by 7 desc, 3 desc
      limit 1000
    ) g
    left join tunebase.api_keys k on k.id = g.api_key_id and k.project_id = v_project_id
  ), '[]');
end $$;
