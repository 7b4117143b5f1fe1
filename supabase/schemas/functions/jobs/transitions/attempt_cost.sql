-- An attempt's cost so far: from its first claim until now or its end. Time in the queue is free.
create function tunebase_internal.attempt_cost(p_attempt tunebase.attempts) returns numeric
language sql stable
return greatest(p_attempt.cost_usd, round((
  extract(epoch from coalesce(p_attempt.ended_at, now()) - p_attempt.started_at) / 3600
  * (p_attempt.gpu_config ->> 'cost_per_gpu_hour')::numeric * (p_attempt.gpu_config ->> 'num_gpus')::numeric
)::numeric, 6));
