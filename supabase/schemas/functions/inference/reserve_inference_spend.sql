-- The highest possible cost of a request, to reserve from the project's cap. p_request: {max_prompt_tokens, prompts, choices,
-- max_completion_tokens}. Raises spend_cap_exceeded if it does not fit. Locks the project's row only if it has a cap and
-- the model has a price, so that two requests cannot reserve the same budget.
create function tunebase_internal.reserve_inference_spend(p_project_id uuid, p_model jsonb, p_request jsonb) returns numeric
language plpgsql set search_path = ''
as $$
declare
  v_context constant bigint := (p_model ->> 'max_length')::bigint;
  v_reserved constant numeric := tunebase_internal.inference_cost(
    p_model ->> 'base_model',
    least((p_request ->> 'max_prompt_tokens')::bigint, v_context * (p_request ->> 'prompts')::bigint),
    (p_request ->> 'choices')::bigint * least(coalesce((p_request ->> 'max_completion_tokens')::bigint, v_context), v_context),
    -- RunPod's limit for one request.
    330
  );
  v_cap numeric;
  v_spent numeric;
begin
  if v_reserved = 0 then
    return 0;
  end if;
  select spend_cap_usd into v_cap from tunebase.projects
  where id = p_project_id and spend_cap_usd is not null for no key update;
  if found then
    v_spent := tunebase_internal.project_spend(p_project_id);
    if v_spent + v_reserved > v_cap then
      perform tunebase_internal.raise_api_error('spend_cap_exceeded', jsonb_build_object(
        'cap', v_cap, 'spent', round(v_spent, 4), 'reserved', round(v_reserved, 4), 'request', true
      ));
    end if;
  end if;
  return v_reserved;
end $$;
