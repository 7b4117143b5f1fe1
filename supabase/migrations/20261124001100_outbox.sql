-- What is owed to subscribers: triggers write one row an event, in the transaction of what happened. Nothing that goes
-- wrong in here may touch a job.

create table tunebase.outbox (
  -- The event's public id is `evt_` and this.
  id uuid primary key default tunebase.uuid7(),
  project_id uuid not null references public.projects on delete cascade,
  job_id uuid references public.jobs on delete cascade,
  type text not null check (type = any (tunebase.event_types())),
  -- The `data` of the event's body, fixed when it happened.
  data jsonb not null,
  created_at timestamptz not null default now(),
  -- Later only when fanning out has failed.
  due_at timestamptz not null default now(),
  fanned_out_at timestamptz
);
create index outbox_due on tunebase.outbox (due_at) where fanned_out_at is null;
create index outbox_done on tunebase.outbox (fanned_out_at) where fanned_out_at is not null;
create index outbox_project on tunebase.outbox (project_id);
create index outbox_job on tunebase.outbox (job_id, type, created_at);

-- For the operator: what a trigger could not do. A row each and not a counter: a counter's row would make
-- transactions wait for one another. `fan_out` pays what is still owed (type is not null) as soon as it can.
create table tunebase.trigger_failures (
  id uuid primary key default tunebase.uuid7(),
  trigger text not null,
  job_id uuid,
  type text,
  error text not null,
  created_at timestamptz not null default now(),
  repaired_at timestamptz
);
create index trigger_failures_open on tunebase.trigger_failures (id) where type is not null and repaired_at is null;

-- The `data` of a job's event: OpenAI's `{id}`, and what spares a receiver the next call.
create function tunebase.job_event_data(j public.jobs) returns jsonb
language sql stable set search_path = ''
as $$
  select jsonb_build_object(
    'id', 'ftjob-' || replace(j.id::text, '-', ''),
    'status', j.status,
    'model', j.base_model,
    'fine_tuned_model', j.fine_tuned_model,
    'progress', j.progress,
    'step', j.current_step,
    'total_steps', j.total_steps,
    'trained_tokens', j.trained_tokens,
    'cost_usd', j.cost_usd,
    'spend_cap_usd', j.spend_cap_usd,
    'metadata', j.metadata,
    'error', case when j.error_code is not null then jsonb_build_object(
      'code', j.error_code, 'message', j.error_message, 'hint', j.error_hint, 'param', j.error_param
    ) end
  )
$$;

-- Notes what a trigger could not do, and says so as a warning. Cannot fail itself.
create function tunebase.note_trigger_failure(p_trigger text, p_job_id uuid, p_type text, p_error text) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  raise warning 'tunebase: trigger % failed: %', p_trigger, p_error;
  insert into tunebase.trigger_failures (trigger, job_id, type, error) values (p_trigger, p_job_id, p_type, p_error);
exception when others then
  raise warning 'tunebase: and could not be noted: %', sqlerrm;
end $$;

-- Owes one event of a job; what fails is noted and left for `fan_out` to repair.
create function tunebase.owe(p_job public.jobs, p_type text, p_more jsonb default '{}') returns void
language plpgsql security definer set search_path = ''
as $$
begin
  insert into tunebase.outbox (project_id, job_id, type, data)
  values (p_job.project_id, p_job.id, p_type, tunebase.job_event_data(p_job) || p_more);
exception when others then
  perform tunebase.note_trigger_failure('owe', p_job.id, p_type, sqlerrm);
end $$;

create function tunebase.owe_job_events() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  if tg_op = 'INSERT' then
    perform tunebase.owe(new, 'fine_tuning.job.created');
  elsif new.status = 'running' and old.started_at is null then
    perform tunebase.owe(new, 'fine_tuning.job.started');
  end if;
  if new.status in ('paused', 'succeeded', 'failed', 'cancelled') and (tg_op = 'INSERT' or new.status <> old.status) then
    perform tunebase.owe(new, 'fine_tuning.job.' || new.status);
  end if;
  if tg_op = 'UPDATE' and old.budget_warned_at is null and new.budget_warned_at is not null then
    perform tunebase.owe(new, 'fine_tuning.job.budget_warning');
  end if;
  return null;
exception when others then
  perform tunebase.note_trigger_failure(tg_name, new.id, null, sqlerrm);
  return null;
end $$;

create trigger tunebase_owe_created after insert on public.jobs
for each row execute function tunebase.owe_job_events();

-- A report sets neither of these columns: it does not pay for this trigger.
create trigger tunebase_owe_moved after update of status, budget_warned_at on public.jobs
for each row
when (new.status is distinct from old.status or new.budget_warned_at is distinct from old.budget_warned_at)
execute function tunebase.owe_job_events();

-- Progress is owed only where an endpoint wants it, and no oftener than the most eager one of the project asks;
-- `fan_out` keeps each endpoint's own pace. The job's row is locked by whoever updates it: no race.
create function tunebase.owe_progress() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
  v_seconds integer;
begin
  select min(progress_seconds) into v_seconds
  from public.webhook_endpoints
  where project_id = new.project_id and enabled and 'fine_tuning.job.progress' = any (event_types);
  if v_seconds is null then
    return null;
  end if;
  if not exists (
    select from tunebase.outbox
    where job_id = new.id and type = 'fine_tuning.job.progress'
      and created_at > now() - make_interval(secs => v_seconds)
  ) then
    -- Not through `owe`: a progress event that was not written is not worth repairing.
    insert into tunebase.outbox (project_id, job_id, type, data)
    values (new.project_id, new.id, 'fine_tuning.job.progress', tunebase.job_event_data(new));
  end if;
  return null;
exception when others then
  perform tunebase.note_trigger_failure(tg_name, new.id, null, sqlerrm);
  return null;
end $$;

create trigger tunebase_owe_progress after update of progress on public.jobs
for each row
when (new.status = 'running' and new.progress > old.progress)
execute function tunebase.owe_progress();

create function tunebase.owe_checkpoint() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
  v_job public.jobs;
begin
  select * into strict v_job from public.jobs where id = new.job_id;
  perform tunebase.owe(v_job, 'fine_tuning.job.checkpoint', jsonb_build_object('checkpoint', jsonb_build_object(
    'id', 'ftckpt-' || replace(new.id::text, '-', ''), 'step_number', new.step, 'metrics', new.metrics
  )));
  return null;
exception when others then
  perform tunebase.note_trigger_failure(tg_name, new.job_id, null, sqlerrm);
  return null;
end $$;

create trigger tunebase_owe_checkpoint after insert on public.checkpoints
for each row execute function tunebase.owe_checkpoint();
