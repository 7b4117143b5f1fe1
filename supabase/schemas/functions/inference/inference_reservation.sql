-- The highest possible cost of a request, to reserve from the project's cap. p_request: {max_prompt_tokens, prompts, choices,
-- max_completion_tokens}.
create function tunebase_internal.inference_reservation(p_model jsonb, p_request jsonb) returns numeric
language plpgsql stable set search_path = ''
as $$
declare
  v_context constant bigint := (p_model ->> 'max_length')::bigint;
begin
  return tunebase_internal.inference_cost(
    p_model ->> 'base_model',
    least((p_request ->> 'max_prompt_tokens')::bigint, v_context * (p_request ->> 'prompts')::bigint),
    (p_request ->> 'choices')::bigint * least(coalesce((p_request ->> 'max_completion_tokens')::bigint, v_context), v_context),
    -- RunPod's limit for one request.
    330
  );
end $$;
