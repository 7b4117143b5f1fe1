-- How long each of these queued jobs may run within the remaining budgets, at its GPU's price. Leaves out jobs on a free GPU
-- and jobs without any cap. Call it with claim_dispatch's lock held.
--
-- RunPod ends every live attempt at its execution timeout, so the cost until then is committed: spent, committed and newly
-- granted amounts together never exceed the project's cap, even without the watchdog. The rest of the budget is granted as
-- follows. A job with its own cap gets up to that cap. A job with an estimate gets its reservation plus the same amount
-- again, or half an hour of its GPU. Any other job gets an equal share with the jobs that could start now and, while the
-- project may run more, one later job. Every job gets at least five minutes, even from others' reservations, or jobs could
-- wait for each other's reservations forever. verdict: run; wait, while live attempts hold the budget; or fail, if the cap leaves
-- less than half a minute of GPU time, which is too little to load a model.
create function tunebase_internal.dispatch_budgets(p_job_ids uuid[])
returns table (job_id uuid, verdict text, max_seconds integer, message text)
language plpgsql stable set search_path = ''
as $$
#variable_conflict use_column
begin
  -- In plpgsql, which caches the plan: language sql would plan this query again at every claim.
  return query with this_month as (
    select date_trunc('month', now() at time zone 'utc') at time zone 'utc' as starts_at
  ), chosen as (
    select j.id, j.project_id, j.spend_cap_usd - j.cost_usd as job_left, j.spend_cap_usd as job_cap,
      p.spend_cap_usd as project_cap, p.max_running, x.place, greatest(j.reserved_usd - j.cost_usd, 0) as own,
      (m.gpu_config ->> 'cost_per_gpu_hour')::numeric * (m.gpu_config ->> 'num_gpus')::numeric as usd_per_hour
    from unnest(p_job_ids) with ordinality x (id, place)
    join tunebase.jobs j on j.id = x.id
    join tunebase.projects p on p.id = j.project_id
    join tunebase.base_models m on m.id = j.base_model
    where (m.gpu_config ->> 'cost_per_gpu_hour')::numeric > 0 and (m.gpu_config ->> 'num_gpus')::numeric > 0
      and (j.spend_cap_usd is not null or p.spend_cap_usd is not null)
  ), project as (
    select project_id, project_cap, max_running, sum(own) as own, count(*) as jobs
    from chosen where project_cap is not null group by project_id, project_cap, max_running
  ), money as (
    select p.*, a.spent + tunebase_internal.inference_spend(p.project_id) as spent, a.committed, a.alive,
      (
        -- Reservations of other unfinished jobs, except those with a live attempt, which is committed.
        select coalesce(sum(greatest(j.reserved_usd - j.cost_usd, 0)), 0) from tunebase.jobs j
        where j.project_id = p.project_id and tunebase_internal.is_open(j.status)
          and j.reserved_usd > 0 and j.id <> all (p_job_ids)
          and not exists (select from tunebase.attempts o where o.job_id = j.id and o.state <> 'ended')
      ) as held,
      (
        select count(*) from (
          select from tunebase.jobs j
          where j.project_id = p.project_id and j.status = 'queued' and j.due_at <= now() and j.due_at < 'infinity'
          limit greatest(p.max_running - a.alive, 1)
        ) due
      ) as could_start
    from project p
    cross join lateral (
      select count(*) filter (where a.state <> 'ended') as alive,
        coalesce(sum(c.cost) filter (where a.started_at is not null), 0) as spent,
        coalesce(sum(greatest(
          a.execution_timeout_seconds / 3600.0
            * (a.gpu_config ->> 'cost_per_gpu_hour')::numeric * (a.gpu_config ->> 'num_gpus')::numeric - c.cost, 0
        )) filter (where a.state <> 'ended'), 0) as committed
      from tunebase.attempts a
      cross join lateral (
        select case
          when a.state = 'ended' then a.cost_usd else coalesce(tunebase_internal.attempt_cost(a), 0)
        end as cost
      ) c
      where a.project_id = p.project_id
        and (a.started_at >= (select starts_at from this_month) or (a.started_at is null and a.state <> 'ended'))
    ) a
  ), wanted as (
    select c.*, m.spent, m.project_cap - m.spent - m.committed as pool,
      greatest(c.usd_per_hour / 12, c.own + case
        when c.job_cap is not null then least(m.free / m.takers, c.job_left - c.own)
        when c.own > 0 then least(m.free / m.takers, greatest(c.own, c.usd_per_hour / 2))
        else m.free / (m.takers + (m.max_running > m.alive + m.takers)::integer)
      end) as share
    from chosen c left join (
      select m.*, greatest(m.project_cap - m.spent - m.committed - m.held - m.own, 0) as free,
        greatest(m.jobs, m.could_start) as takers
      from money m
    ) m using (project_id)
  ), shared as (
    -- The order matters only if the budget does not cover all shares.
    select w.*, case when pool is null then job_left else least(
      job_left, share,
      greatest(pool - coalesce(sum(share) over (
        partition by project_id order by place rows between unbounded preceding and 1 preceding
      ), 0), 0)
    ) end as usd
    from wanted w
  ), decided as (
    select s.*, least(floor(usd * 3600 / usd_per_hour), 604800)::integer as seconds, usd_per_hour / 120 as min_usd
    from shared s
  )
  select id,
    case
      when seconds >= 30 then 'run'
      when job_left < min_usd or project_cap - spent < min_usd then 'fail'
      else 'wait'
    end,
    seconds,
    case
      when seconds >= 30 then null
      when job_left < min_usd then format('The job has %s USD left of its spend cap of %s USD, which is too little to run on its GPU.',
        round(greatest(job_left, 0), 2), round(job_cap, 2))
      when project_cap - spent < min_usd then format(
        'The project has %s USD left of this month''s spend cap of %s USD, which is too little to run on the job''s GPU.',
        round(greatest(project_cap - spent, 0), 2), round(project_cap, 2))
      else format('running jobs may still use the remaining %s USD of the project''s spend cap',
        round(project_cap - spent, 2))
    end
  from decided;
end $$;
