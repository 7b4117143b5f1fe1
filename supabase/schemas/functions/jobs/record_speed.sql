-- Adds a succeeded job to its base model's measured speed. Ignores jobs of fewer than 20 steps, which mostly measure startup.
create function tunebase_internal.record_speed(p_job tunebase.jobs, p_gpu_config jsonb) returns void
language sql set search_path = ''
as $$
  update tunebase.base_models b
  set measured_jobs = case when b.measured_gpus = g.gpus then b.measured_jobs else 0 end + 1,
    measured_tokens_per_second = case when b.measured_gpus = g.gpus
      then b.measured_tokens_per_second
        + (p_job.tokens_per_second - b.measured_tokens_per_second) / least(b.measured_jobs + 1, 10)
      else p_job.tokens_per_second end,
    measured_gpus = g.gpus
  from (select (p_gpu_config ->> 'num_gpus') || ' × ' || (p_gpu_config ->> 'gpu_type') as gpus) g
  where b.id = p_job.base_model and p_job.tokens_per_second > 0 and p_job.total_steps >= 20
$$;
