-- Compares the estimate of one figure with its actual value; null if there was no estimate.
create function tunebase_internal.estimate_accuracy(p_range jsonb, p_actual numeric) returns jsonb
language sql immutable set search_path = ''
as $$
  select case when jsonb_typeof(p_range) = 'object' then jsonb_build_object(
    'expected', p_range -> 'expected', 'actual', p_actual,
    'ratio', round(p_actual / nullif((p_range ->> 'expected')::numeric, 0), 4),
    'within_range', p_actual between (p_range ->> 'low')::numeric and (p_range ->> 'high')::numeric
  ) end
$$;
