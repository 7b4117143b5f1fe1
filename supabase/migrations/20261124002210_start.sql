-- A job that waits to be started, and what a person is told who asks when it is a queued job's turn.

alter table public.jobs
  -- false: once its files are valid it waits, paused, until it is started, which makes it true. `paused` and not
  -- `validating_files`: nothing is being done, nobody need look, and the official SDKs can start it too, with `resume`.
  add column auto_start boolean not null default true;

-- The place in the queue counts what is due earlier: of the project, and in all.
create index jobs_due on public.jobs (due_at, id) where status = 'queued' and due_at < 'infinity';
create index jobs_due_of_project on public.jobs (project_id, due_at, id) where status = 'queued' and due_at < 'infinity';

-- A job that is not to start by itself is paused at the moment in which it would be queued for the first time, wherever
-- that is; and has been started when a person takes it out of the pause. After hold_until_checked, by its name: triggers
-- of one kind run in that order, and a job whose files are still being checked is not asked yet.
create function tunebase.wait_for_start() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  if tg_op = 'UPDATE' and old.status = 'paused' then
    new.auto_start := true;
  elsif new.status = 'queued' then
    new.status := 'paused';
    new.due_at := null;
    new.queued_at := null;
  end if;
  return new;
end $$;
create trigger wait_for_start before insert or update of status on public.jobs
for each row when (new.status in ('queued', 'validating_files') and not new.auto_start)
execute function tunebase.wait_for_start();

-- Starts a job that was created with auto_start false. Again, it changes nothing.
create function tunebase.start_job(p_caller jsonb, p_job_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase.authorize(p_caller, 'jobs:write');
  v_job public.jobs;
begin
  select * into v_job from public.jobs where id = p_job_id and project_id = v_project_id for no key update;
  if not found then
    perform tunebase.refuse('job_not_found');
  elsif tunebase.is_final(v_job.status) then
    perform tunebase.refuse('job_is_final', jsonb_build_object('status', v_job.status));
  elsif v_job.status = 'validating_files' then
    -- It is queued as soon as its files have been checked.
    update public.jobs set auto_start = true where id = p_job_id;
  elsif v_job.status = 'paused' and not v_job.auto_start then
    perform tunebase.queue_now(p_job_id, 0);
    perform tunebase.add_event(p_job_id, 'info', 'The job was started; it is queued for a GPU.');
  elsif v_job.status = 'paused' or v_job.pause_wanted then
    perform tunebase.refuse('job_not_waiting');
  end if;
  return tunebase.job_json(p_job_id);
end $$;

-- Why a job waits, in words that end a sentence; null when it does not.
create function tunebase.wait_reason(p_job public.jobs) returns text
language sql stable set search_path = ''
as $$
  select case
    when p_job.status = 'validating_files' then 'its files are being checked'
    when p_job.status = 'paused' and not p_job.auto_start then 'it waits to be started'
    when p_job.status <> 'queued' then null
    when p_job.queue_reason is not null then p_job.queue_reason
    when p_job.due_at = 'infinity' then 'the GPU service has it and has not started it yet'
    when p_job.due_at > now() then format('it is tried again in %s s', ceil(extract(epoch from p_job.due_at - now())))
    when p.max_running <= (
      select count(*) from public.attempts where project_id = p_job.project_id and state <> 'ended'
    ) then format('the project has %s running already, the most it may have at once', p.max_running)
    else 'it is about to be sent to the GPU service'
  end
  from public.projects p where p.id = p_job.project_id
$$;

-- A job as one answer shows it: its row, and the place in the queue that a person asks about. Counting stops at 1,000,
-- so that a long queue costs nobody anything.
create or replace function tunebase.job_json(p_job_id uuid) returns jsonb
language sql stable set search_path = ''
as $$
  select to_jsonb(j) - 'plan' || jsonb_build_object(
    'queue_reason', tunebase.wait_reason(j),
    'queue', case when j.status = 'queued' then jsonb_build_object(
      'ahead_in_project', case when j.due_at = 'infinity' then 0 else (
        select count(*) from (
          select from public.jobs a
          where a.project_id = j.project_id and a.status = 'queued' and a.due_at < 'infinity'
            and (a.due_at, a.id) < (j.due_at, j.id)
          limit 1000
        ) ahead
      ) end,
      'ahead', case when j.due_at = 'infinity' then 0 else (
        select count(*) from (
          select from public.jobs a
          where a.status = 'queued' and a.due_at < 'infinity' and (a.due_at, a.id) < (j.due_at, j.id)
          limit 1000
        ) ahead
      ) end
    ) end
  )
  from public.jobs j where j.id = p_job_id
$$;

revoke execute on all functions in schema tunebase from public;
grant execute on function tunebase.start_job(jsonb, uuid) to tunebase_api;
