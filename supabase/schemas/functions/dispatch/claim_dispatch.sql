-- Claims up to p_limit due jobs and creates their attempts before any call to RunPod, so that a crash in between is detected.
-- Respects the limits of projects and endpoints. Projects with the fewest live attempts come first, so that 10,000 jobs of
-- one project do not block a job of another. Jobs that their caps do not cover are failed or postponed
-- (settle_unaffordable), and an attempt's execution timeout is limited to its share of the budget. Returns
-- {claimed: [...], wait_seconds}; wait_seconds: when an endpoint's rate limit allows the next call; null if it blocks none.
--
-- One claim at a time (advisory lock), because limits are counted. In batches, because counting is the expensive part.
create function tunebase_internal.claim_dispatch(p_default_endpoint text, p_lease_seconds integer, p_limit integer) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_chosen uuid[];
  v_affordable uuid[];
  v_max_seconds integer[];
  v_claimed jsonb;
  v_wait double precision;
begin
  perform pg_advisory_xact_lock(hashtext('tunebase_internal.claim_dispatch'));
  if not exists (
    select from tunebase.jobs where status = 'queued' and due_at <= now() and due_at < 'infinity'
  ) then
    return jsonb_build_object('claimed', '[]'::jsonb, 'wait_seconds', null);
  end if;
  insert into tunebase_internal.runpod_endpoints (endpoint_id)
  select distinct coalesce(endpoint_id, p_default_endpoint) from tunebase.base_models
  on conflict do nothing;
  -- Refill the token bucket, up to one second's calls.
  update tunebase_internal.runpod_endpoints
  set calls_left = least(greatest(run_per_second, 1), calls_left + extract(epoch from now() - counted_at) * run_per_second),
    counted_at = now()
  where counted_at < now();

  -- Every (project, model) with a queued job, by a loose index scan: the cost depends on the number of pairs, not of jobs.
  with recursive lines as (
    (
      select project_id, base_model from tunebase.jobs
      where status = 'queued' and due_at < 'infinity'
      order by project_id, base_model limit 1
    )
    union all
    select n.project_id, n.base_model
    from lines l
    cross join lateral (
      select project_id, base_model from tunebase.jobs
      where status = 'queued' and due_at < 'infinity' and (project_id, base_model) > (l.project_id, l.base_model)
      order by project_id, base_model limit 1
    ) n
  ), alive as materialized (
    -- Counted once, with an index-only scan.
    select project_id, endpoint_id, count(*) as attempts
    from tunebase.attempts where state <> 'ended' group by project_id, endpoint_id
  ), of_project as (
    select project_id, sum(attempts) as alive from alive group by project_id
  ), of_endpoint as (
    select endpoint_id, sum(attempts) as alive from alive group by endpoint_id
  ), heads as (
    select j.id, j.due_at, e.endpoint_id,
      coalesce(op.alive, 0) + row_number() over (partition by l.project_id order by j.due_at, j.id) as turn,
      p.max_running, floor(e.calls_left) as calls_left, e.max_running - coalesce(oe.alive, 0) as room
    from lines l
    join tunebase.projects p on p.id = l.project_id
    join tunebase.base_models m on m.id = l.base_model
    join tunebase_internal.runpod_endpoints e on e.endpoint_id = coalesce(m.endpoint_id, p_default_endpoint)
    left join of_project op on op.project_id = l.project_id
    left join of_endpoint oe on oe.endpoint_id = e.endpoint_id
    cross join lateral (
      select id, due_at from tunebase.jobs
      where status = 'queued' and due_at <= now() and due_at < 'infinity'
        and project_id = l.project_id and base_model = l.base_model
      order by due_at limit p_limit
    ) j
    where coalesce(e.blocked_until, '-infinity') <= now()
  ), ranked as (
    select *, row_number() over (partition by endpoint_id order by turn, due_at, id) as place
    from heads where turn <= max_running
  ), allowed as (
    select *, row_number() over (order by turn, due_at, id) as overall
    from ranked where place <= coalesce(room, place)
  )
  select array_agg(id order by overall) filter (where place <= calls_left and overall <= p_limit),
    min((place - calls_left) / greatest((select run_per_second from tunebase_internal.runpod_endpoints x where x.endpoint_id = a.endpoint_id), 0.001))
      filter (where place = calls_left + 1)
  into v_chosen, v_wait
  from allowed a;

  -- A client may have cancelled or paused a job. Locked rows are left to the next claim.
  select array_agg(x.id order by array_position(v_chosen, x.id)) into v_chosen from (
    select id from tunebase.jobs
    where id = any (v_chosen) and status = 'queued' and due_at <= now()
    for no key update skip locked
  ) x;
  select array_agg(job_id order by place), array_agg(max_seconds order by place) into v_affordable, v_max_seconds
  from tunebase_internal.settle_unaffordable(coalesce(v_chosen, '{}')) with ordinality s (job_id, max_seconds, place);

  with taken as (
    select j.*, x.max_seconds from unnest(v_affordable, v_max_seconds) x (id, max_seconds)
    join tunebase.jobs j on j.id = x.id
  ), out as (
    update tunebase.jobs j set due_at = 'infinity', status_reason = null where j.id = any (v_affordable)
  ), made as (
    insert into tunebase.attempts (
      job_id, project_id, number, state, endpoint_id, gpu_config, execution_timeout_seconds, ttl_seconds,
      claim_deadline, lease_until, reconcile_at
    )
    select t.id, t.project_id, (select coalesce(max(number), 0) + 1 from tunebase.attempts where job_id = t.id),
      'submitting', coalesce(m.endpoint_id, p_default_endpoint), m.gpu_config,
      least(m.execution_timeout_seconds, t.max_seconds),
      m.queue_timeout_seconds + least(m.execution_timeout_seconds, t.max_seconds), now() + make_interval(secs => m.queue_timeout_seconds),
      now() + make_interval(secs => p_lease_seconds), now() + make_interval(secs => p_lease_seconds)
    from taken t join tunebase.base_models m on m.id = t.base_model
    returning *
  ), counted as (
    update tunebase_internal.runpod_endpoints e set calls_left = e.calls_left - used.calls
    from (select endpoint_id, count(*) as calls from made group by endpoint_id) used
    where e.endpoint_id = used.endpoint_id
  )
  select jsonb_agg(jsonb_build_object(
    'attempt', to_jsonb(made), 'plan', t.plan,
    'training_object', (select object from tunebase.files where id = t.training_file),
    'validation_object', (select object from tunebase.files where id = t.validation_file)
  ) order by array_position(v_chosen, t.id))
  into v_claimed
  from made join taken t on t.id = made.job_id;
  return jsonb_build_object(
    'claimed', coalesce(v_claimed, '[]'),
    -- All were failed or postponed: claim again at once, because others may be due.
    'wait_seconds', coalesce(v_wait, case when v_claimed is null and cardinality(v_chosen) > 0 then 0 end)
  );
end $$;
