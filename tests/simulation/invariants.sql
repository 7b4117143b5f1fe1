-- The invariants after every command, as one call: `simulation.check()` compares the tables with each other and with their
-- state at the last call, and returns violations, each as 'kind: description'. It checks jobs with a row written since then
-- (a different xmin), or all jobs. Only in the simulation's database.
create schema simulation;

create table simulation.seen (
  job_id uuid primary key,
  progress real not null,
  trained_tokens bigint not null,
  cost_usd numeric not null,
  last_event integer not null,
  version xid not null,
  -- The whole row, once it is final.
  final jsonb
);
create table simulation.seen_attempts (
  attempt_id uuid primary key,
  cost_usd numeric not null,
  fence integer not null,
  version xid not null,
  ended jsonb
);

-- Rows without the columns that advancing time changes or that keep counting.
create function simulation.core(j tunebase.jobs) returns jsonb language sql immutable as $$
  select to_jsonb(j) - array[
    'created_at', 'due_at', 'estimated_finish', 'queued_at', 'started_at', 'finished_at', 'budget_warned_at', 'cost_usd'
  ]
$$;
create function simulation.core(a tunebase.attempts) returns jsonb language sql immutable as $$
  select to_jsonb(a) - array[
    'claim_deadline', 'reconcile_at', 'lease_until', 'cancel_requested_at', 'cancel_sent_at', 'created_at', 'submitted_at',
    'started_at', 'last_report_at', 'ended_at', 'rejected_callbacks'
  ]
$$;

-- Every change that must produce an event, recorded by separate triggers: the outbox must have the same rows.
create table simulation.changes (job_id uuid not null, type text not null);
create table simulation.enqueued (job_id uuid not null, type text not null);
create table simulation.dropped (job_id uuid not null, type text not null);

create function simulation.note_change() returns trigger language plpgsql as $$
begin
  if tg_op = 'INSERT' then
    insert into simulation.changes values (new.id, 'fine_tuning.job.created');
  elsif new.status is distinct from old.status then
    if new.status in ('paused', 'succeeded', 'failed', 'cancelled') then
      insert into simulation.changes values (new.id, 'fine_tuning.job.' || new.status);
    elsif new.status = 'running' and old.started_at is null then
      insert into simulation.changes values (new.id, 'fine_tuning.job.started');
    end if;
  end if;
  return null;
end $$;
create trigger simulation_change after insert or update of status on tunebase.jobs
for each row execute function simulation.note_change();

create function simulation.note_outbox_row() returns trigger language plpgsql as $$
begin
  if tg_op = 'INSERT' then
    insert into simulation.enqueued values (new.job_id, new.type);
  elsif to_jsonb(old) ->> 'fanned_out_at' is null then
    insert into simulation.dropped values (old.job_id, old.type);
  end if;
  return null;
end $$;

do $$ begin
  if to_regclass('tunebase_internal.outbox') is not null then
    create trigger simulation_outbox after insert or delete on tunebase_internal.outbox
    for each row execute function simulation.note_outbox_row();
  end if;
end $$;

create function simulation.outbox_problems(p_jobs uuid[]) returns setof text language plpgsql as $$
begin
  if to_regclass('tunebase_internal.outbox') is null then
    return;
  end if;
  return query
  select format('notification_lost: job %s produced %s of %s, but the outbox had %s', job_id, c, type, o)
  from (
    select job_id, type, count(*) as c from simulation.changes where job_id = any (p_jobs) group by job_id, type
  ) changes
  full join (
    select job_id, type, count(*) as o from simulation.enqueued
    where job_id = any (p_jobs) and type ~ '\.(created|started|paused|succeeded|failed|cancelled)$' group by job_id, type
  ) enqueued using (job_id, type)
  where c is distinct from o
  union all
  select format('notification_lost: %s of job %s was deleted from the outbox before it was fanned out', type, job_id)
  from simulation.dropped;
end $$;

create function simulation.check(p_all boolean, out problems text[], out finals bigint) language plpgsql as $$
declare
  v_written uuid[];
begin
  select array_agg(j.id) into v_written
  from tunebase.jobs j
  where p_all
    or not exists (select from simulation.seen s where s.job_id = j.id and s.version = j.xmin)
    or exists (
      select from tunebase.attempts a left join simulation.seen_attempts s on s.attempt_id = a.id
      where a.job_id = j.id and s.version is distinct from a.xmin
    );
  with jobs as (
    select *, xmin as version from tunebase.jobs where id = any (v_written)
  ), attempts as (
    select *, xmin as version from tunebase.attempts where job_id = any (v_written)
  ), alive as (
    select * from attempts where state <> 'ended'
  ), found (problem) as (
    select format('lost: job %s is gone', s.job_id)
    from simulation.seen s where p_all and not exists (select from tunebase.jobs j where j.id = s.job_id)
    union all
    select format('wrong_terminal: job %s was final but has changed: %s is now %s', j.id, s.final, simulation.core(j))
    from simulation.seen s join tunebase.jobs j on j.id = s.job_id
    where j.id = any (v_written) and s.final is not null and s.final <> simulation.core(j)
    union all
    select format('fell: job %s had progress %s, %s tokens, %s USD, %s events; now %s, %s, %s, %s', j.id,
      s.progress, s.trained_tokens, s.cost_usd, s.last_event, j.progress, j.trained_tokens, j.cost_usd, j.last_event)
    from simulation.seen s join jobs j on j.id = s.job_id
    where j.progress < s.progress or j.trained_tokens < s.trained_tokens or j.cost_usd < s.cost_usd
      or j.last_event < s.last_event
    union all
    select format('wrong_terminal: attempt %s had ended but has changed: %s is now %s', a.id, s.ended, simulation.core(a))
    from simulation.seen_attempts s join tunebase.attempts a on a.id = s.attempt_id
    where a.job_id = any (v_written) and s.ended is not null and s.ended <> simulation.core(a)
    union all
    select format('fell: attempt %s had %s USD and fence %s; now %s and %s', a.id, s.cost_usd, s.fence, a.cost_usd, a.fence)
    from simulation.seen_attempts s join attempts a on a.id = s.attempt_id
    where a.cost_usd < s.cost_usd or a.fence < s.fence
    union all
    select format('duplicate: job %2$s has %1$s live attempts', count(*), job_id) from alive group by job_id having count(*) > 1
    union all
    select format('lost: job %s has no next check: it is %s and due %s', j.id, j.status, coalesce(j.due_at::text, 'never'))
    from jobs j
    where not tunebase_internal.is_terminal(j.status) and j.status <> 'paused'
      and not (j.status = 'queued' and j.due_at < 'infinity')
      and not exists (select from alive a where a.job_id = j.id and a.reconcile_at < 'infinity')
    union all
    select format('lost: attempt %s has no next check: it is %s', a.id, a.state)
    from alive a where a.reconcile_at is null or a.reconcile_at >= 'infinity'
    union all
    select format('duplicate: job %s is due for dispatch while attempt %s is %s', j.id, a.number, a.state)
    from jobs j join alive a on a.job_id = j.id where j.status = 'queued' and j.due_at < 'infinity'
    union all
    select format('wrong_state: job %s is %s and its attempt %s is %s', j.id, j.status, a.number, a.state)
    from jobs j join alive a on a.job_id = j.id
    where (a.state = 'running' and j.status in ('queued', 'validating_files'))
      or (a.state <> 'running' and j.status = 'running')
      or (not a.cancel_requested and (tunebase_internal.is_terminal(j.status) or j.status = 'paused'))
    union all
    select format('event_gap: job %s counts %s events but has %s, from %s to %s', j.id, j.last_event, count(e), min(e.number),
      max(e.number))
    from jobs j left join tunebase.events e on e.job_id = j.id
    group by j.id, j.last_event having count(e) <> j.last_event or min(e.number) <> 1 or max(e.number) <> j.last_event
    union all
    select format('metric_twice: job %s logged step %s of attempt %s %s times', job_id, data ->> 'step', data ->> 'attempt',
      count(*))
    from tunebase.events where type = 'metrics' and job_id = any (v_written) group by job_id, data ->> 'step', data ->> 'attempt' having count(*) > 1
    union all
    select format('money: job %s shows %s USD, but its attempts cost %s', j.id, j.cost_usd, coalesce(sum(a.cost_usd), 0))
    from jobs j left join attempts a on a.job_id = j.id
    group by j.id, j.cost_usd having j.cost_usd <> coalesce(sum(a.cost_usd), 0)
    union all
    select format('money: attempt %s has cost %s USD, not %s', a.id, a.cost_usd, p.price)
    from attempts a
    cross join lateral (
      select coalesce(extract(epoch from a.ended_at - a.started_at) / 3600
        * (a.gpu_config ->> 'cost_per_gpu_hour')::numeric * (a.gpu_config ->> 'num_gpus')::numeric, 0) as price
    ) p
    where a.state = 'ended' and abs(a.cost_usd - p.price) > 0.00001
    union all
    select format('wrong_terminal: job %s succeeded but has no adapter', j.id)
    from jobs j
    where j.status = 'succeeded' and not exists (select from tunebase.adapters d where d.job_id = j.id)
    union all
    select format('wrong_terminal: job %s has an adapter but is %s', j.id, j.status)
    from tunebase.adapters d join jobs j on j.id = d.job_id where j.status <> 'succeeded'
    union all
    select * from simulation.outbox_problems(v_written)
  )
  select coalesce(array_agg(problem), '{}') into problems from found;

  insert into simulation.seen
  select j.id, j.progress, j.trained_tokens, j.cost_usd, j.last_event, j.xmin,
    case when tunebase_internal.is_terminal(j.status) then simulation.core(j) end
  from tunebase.jobs j where j.id = any (v_written)
  on conflict (job_id) do update
  set progress = excluded.progress, trained_tokens = excluded.trained_tokens, cost_usd = excluded.cost_usd,
    last_event = excluded.last_event, version = excluded.version, final = coalesce(simulation.seen.final, excluded.final);
  insert into simulation.seen_attempts
  select a.id, a.cost_usd, a.fence, a.xmin, case when a.state = 'ended' then simulation.core(a) end
  from tunebase.attempts a where a.job_id = any (v_written)
  on conflict (attempt_id) do update
  set cost_usd = excluded.cost_usd, fence = excluded.fence, version = excluded.version,
    ended = coalesce(simulation.seen_attempts.ended, excluded.ended);
  select count(*) into finals from simulation.seen where final is not null;
end $$;

-- Postgres' clock cannot be set: time advances by moving every stored time back, except `infinity` and log times, which
-- affect nothing.
create function simulation.jump(p_by interval) returns void language plpgsql as $$
declare
  v_table record;
begin
  -- Advancing time must not fire triggers.
  perform set_config('session_replication_role', 'replica', true);
  for v_table in
    select format('%I.%I', c.table_schema, c.table_name) as name,
      string_agg(format('%1$I = %1$I - $1', c.column_name), ', ') as moves
    from information_schema.columns c
    join information_schema.tables t using (table_schema, table_name)
    where c.table_schema in ('tunebase', 'tunebase_internal') and t.table_type = 'BASE TABLE' and c.is_generated = 'NEVER'
      and c.data_type = 'timestamp with time zone' and t.table_name not in ('events', 'metrics')
    group by c.table_schema, c.table_name
  loop
    execute format('update %s set %s', v_table.name, v_table.moves) using p_by;
  end loop;
end $$;
