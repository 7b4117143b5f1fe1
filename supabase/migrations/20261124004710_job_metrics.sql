-- A run's figures for a chart, as before (at most about p_points rows; each bucket of steps keeps its lowest and its
-- highest loss; both ends and every validation are kept), and faster: the rows are grouped by hashing, and only those that
-- are picked are read whole. Two window functions over whole rows sorted 100,000 of them twice.
create or replace function tunebase.job_metrics(
  p_caller jsonb, p_job_id uuid, p_points integer, p_from_step integer, p_to_step integer
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_job public.jobs := tunebase.own_job(p_caller, p_job_id);
  v_total bigint;
  v_first integer;
  v_last integer;
begin
  select count(*), min(step), max(step) into v_total, v_first, v_last
  from public.metrics
  where job_id = v_job.id and step between coalesce(p_from_step, 0) and coalesce(p_to_step, 2147483647);
  if v_total <= p_points then
    return jsonb_build_object('total', v_total, 'points', coalesce((
      select jsonb_agg(to_jsonb(m) - 'job_id' - 'project_id' - 'created_at' order by m.step)
      from public.metrics m
      where m.job_id = v_job.id and m.step between v_first and v_last
    ), '[]'));
  end if;
  return jsonb_build_object('total', v_total, 'points', (
    with buckets as (
      -- Two rows a bucket, and as few buckets as that leaves. Arrays compare by their first, then by their second.
      select min(array[training_loss, step]) as low,
        max(array[coalesce(training_loss, '-infinity'), -step]) as high
      from public.metrics
      where job_id = v_job.id and step between v_first and v_last
      group by (step - v_first)::bigint * (p_points / 2) / (v_last - v_first + 1)
    ), picked as (
      select low[2]::integer as step from buckets
      union
      select -high[2]::integer from buckets
      union
      select step from public.metrics
      where job_id = v_job.id and step between v_first and v_last and validation_loss is not null
      union
      select unnest(array[v_first, v_last])
    )
    select jsonb_agg(to_jsonb(m) - 'job_id' - 'project_id' - 'created_at' order by m.step)
    from picked p
    join public.metrics m on m.job_id = v_job.id and m.step = p.step
  ));
end $$;
