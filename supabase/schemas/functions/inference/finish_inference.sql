-- Ends a request, charges for it, and stores its conversation if p_completion has one (store_completion). p_result: {status, http_status, error_code, prompt_tokens, completion_tokens,
-- first_token_ms, seconds}. Returns whether this call ended it: the first one wins, so a request is charged once.
create function tunebase_internal.finish_inference(p_id uuid, p_result jsonb, p_completion jsonb default null)
returns boolean
language plpgsql security definer set search_path = ''
as $$
declare
  v_request tunebase.inference_requests;
begin
  update tunebase.inference_requests
  set status = p_result ->> 'status',
    http_status = (p_result ->> 'http_status')::integer,
    error_code = p_result ->> 'error_code',
    prompt_tokens = (p_result ->> 'prompt_tokens')::integer,
    completion_tokens = (p_result ->> 'completion_tokens')::integer,
    first_token_ms = (p_result ->> 'first_token_ms')::integer,
    seconds = (p_result ->> 'seconds')::numeric,
    cost_usd = tunebase_internal.inference_cost(
      base_model, (p_result ->> 'prompt_tokens')::bigint, (p_result ->> 'completion_tokens')::bigint,
      (p_result ->> 'seconds')::numeric
    ),
    finished_at = now()
  where id = p_id and status = 'open'
  returning * into v_request;
  if not found then
    return false;
  end if;
  -- Locked in this order everywhere, so that two requests cannot deadlock.
  if v_request.cost_usd > 0 then
    insert into tunebase_internal.inference_spend as s (project_id, month, cost_usd)
    values (
      v_request.project_id, date_trunc('month', v_request.created_at at time zone 'utc')::date, v_request.cost_usd
    )
    on conflict (project_id, month) do update set cost_usd = s.cost_usd + excluded.cost_usd;
  end if;
  insert into tunebase.inference_usage as u (
    project_id, quarter_hour, model, api_key_id, requests, prompt_tokens, completion_tokens, seconds, cost_usd
  ) values (
    v_request.project_id, date_bin('15 minutes', v_request.created_at, '2020-01-01 00:00+00'), v_request.model,
    v_request.api_key_id, 1, v_request.prompt_tokens, v_request.completion_tokens, v_request.seconds, v_request.cost_usd
  )
  on conflict (project_id, quarter_hour, model, api_key_id) do update
  set requests = u.requests + 1,
    prompt_tokens = u.prompt_tokens + excluded.prompt_tokens,
    completion_tokens = u.completion_tokens + excluded.completion_tokens,
    seconds = u.seconds + excluded.seconds,
    cost_usd = u.cost_usd + excluded.cost_usd;
  if p_completion is not null then
    perform tunebase_internal.store_completion(v_request, p_completion);
  end if;
  return true;
end $$;
