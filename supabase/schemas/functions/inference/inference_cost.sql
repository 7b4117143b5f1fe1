-- The price of these tokens and seconds, as the operator configured it for the base model.
create function tunebase_internal.inference_cost(
  p_base_model text, p_prompt_tokens bigint, p_completion_tokens bigint, p_seconds numeric
) returns numeric
language sql stable set search_path = ''
as $$
  select round(
    (
      p_prompt_tokens * inference_usd_per_million_input_tokens + p_completion_tokens * inference_usd_per_million_output_tokens
    ) / 1000000 + p_seconds * inference_usd_per_hour / 3600, 9
  )
  from tunebase.base_models where id = p_base_model
$$;
