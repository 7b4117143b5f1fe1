-- An evaluation for the API, with the totals of each model: {model, answered, failed, exact_match, valid_json,
-- field_accuracy, graders, prompt_tokens, completion_tokens, seconds, cost_usd}. Shares are based on the answers so far.
create function tunebase_internal.evaluation_json(p_evaluation tunebase.evaluations) returns jsonb
language sql stable set search_path = ''
as $$
  select to_jsonb(p_evaluation) || jsonb_build_object('totals', jsonb_agg(jsonb_build_object(
    'model', m.name,
    'answered', t.answered,
    'failed', t.failed,
    'exact_match', t.exact_match,
    'valid_json', t.valid_json,
    'field_accuracy', t.field_accuracy,
    'graders', (
      select coalesce(jsonb_agg((
        select avg((a.scores -> 'graders' ->> (g.number - 1)::integer)::boolean::integer)
        from tunebase.evaluation_answers a
        where a.evaluation_id = p_evaluation.id and a.model_number = m.number and a.scores is not null
      ) order by g.number), '[]')
      from generate_series(1, jsonb_array_length(p_evaluation.graders)) g (number)
    ),
    'prompt_tokens', t.prompt_tokens,
    'completion_tokens', t.completion_tokens,
    'seconds', t.seconds,
    'cost_usd', t.cost_usd
  ) order by m.number))
  from unnest(p_evaluation.models) with ordinality m (name, number)
  cross join lateral (
    select count(*) filter (where answer is not null) as answered,
      count(*) filter (where error is not null) as failed,
      avg((scores ->> 'exact_match')::boolean::integer) as exact_match,
      avg((scores ->> 'valid_json')::boolean::integer) as valid_json,
      sum((scores ->> 'fields_correct')::numeric) / nullif(sum((scores ->> 'fields_expected')::numeric), 0) as field_accuracy,
      coalesce(sum(prompt_tokens), 0) as prompt_tokens,
      coalesce(sum(completion_tokens), 0) as completion_tokens,
      coalesce(sum(seconds), 0) as seconds,
      coalesce(sum(cost_usd), 0) as cost_usd
    from tunebase.evaluation_answers a
    where a.evaluation_id = p_evaluation.id and a.model_number = m.number
  ) t
$$;
