-- Metrics for a chart: about p_points rows. Each bucket of steps keeps its lowest and highest loss; both endpoints and every
-- validation are kept. Rows are grouped by hashing and only the chosen ones are read in full: two window functions over full
-- rows sorted 100,000 of them twice.
create function tunebase_internal.get_job_metrics(
  p_caller jsonb, p_job_id uuid, p_points integer, p_from_step integer, p_to_step integer
) returns json
language plpgsql security definer set search_path = ''
as $$
declare
  -- Read first: metrics that arrive meanwhile are returned and then streamed again, which does no harm.
  v_job tunebase.jobs := tunebase_internal.authorize_job(p_caller, p_job_id);
  v_first integer;
  v_last integer;
  v_steps integer[];
  v_total bigint;
begin
  select min(step), max(step) into v_first, v_last
  from tunebase.metrics
  where job_id = v_job.id and step between coalesce(p_from_step, 0) and coalesce(p_to_step, 2147483647);
  v_steps := array(
    select step from tunebase.metrics where job_id = v_job.id and step between v_first and v_last limit p_points + 1
  );
  v_total := cardinality(v_steps);
  if v_total > p_points then
    with rows_read as (
      -- Two rows per bucket. Arrays compare by their first element, then by their second.
      select (step - v_first)::bigint * (p_points / 2) / (v_last - v_first + 1) as bucket, step,
        case when training_loss is not null then array[training_loss, step] end as at, validation_loss
      from tunebase.metrics
      where job_id = v_job.id and step between v_first and v_last
      offset 0 -- so that each array is built once
    ), buckets as materialized (
      select count(*) as number, (min(at))[2]::integer as low, (max(at))[2]::integer as high,
        array_agg(step) filter (where validation_loss is not null) as validated
      from rows_read group by bucket
    )
    select (select sum(number) from buckets), array(
      select low from buckets union select high from buckets union select unnest(validated) from buckets
      union select unnest(array[v_first, v_last])
    ) into v_total, v_steps;
  end if;
  return json_build_object('last_event', v_job.last_event, 'total', v_total, 'points', coalesce((
    select json_agg(p order by p.step) from (
      select m.step, m.attempt, m.epoch, m.training_loss, m.validation_loss, m.learning_rate, m.gradient_norm,
        m.tokens_per_second, m.gpu_utilization, m.gpu_memory_gb
      from unnest(v_steps) as picked (step)
      join tunebase.metrics m on m.job_id = v_job.id and m.step = picked.step
    ) p
  ), '[]'));
end $$;
