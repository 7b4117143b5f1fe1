-- What clients do with jobs. Every function takes the caller and checks for itself.

-- The file of a job to be: of this project, for training, and not found broken. One that is still being checked will do:
-- the job waits for it (hold_until_checked).
create function tunebase.training_file(p_project_id uuid, p_file_id uuid, p_param text) returns uuid
language plpgsql stable set search_path = ''
as $$
declare
  v_file public.files;
begin
  select * into v_file from public.files
  where id = p_file_id and project_id = p_project_id and deleted_at is null;
  if not found then
    perform tunebase.refuse('file_not_found', jsonb_build_object('param', p_param));
  elsif v_file.purpose <> 'fine-tune' then
    perform tunebase.refuse('wrong_purpose', jsonb_build_object('param', p_param, 'purpose', v_file.purpose));
  elsif v_file.status = 'error' then
    perform tunebase.refuse('file_not_ready', jsonb_build_object('param', p_param, 'status', v_file.status));
  end if;
  return v_file.id;
end $$;

-- What a project has spent this month (UTC), and what its jobs that have not ended may still cost.
create function tunebase.project_spend(p_project_id uuid) returns numeric
language sql stable set search_path = ''
as $$
  select coalesce((
    select sum(cost_usd) from public.attempts
    where project_id = p_project_id and started_at >= date_trunc('month', now() at time zone 'utc') at time zone 'utc'
  ), 0) + coalesce((
    select sum(greatest(reserved_usd - cost_usd, 0)) from public.jobs
    where project_id = p_project_id and status in ('validating_files', 'queued', 'running', 'paused')
  ), 0)
$$;

-- Creates a job with its first event and the record of the request that made it: queued; or paused until it is started,
-- when auto_start is false (wait_for_start). The same request again (same key; or, without one, a retry that says so within ten minutes)
-- answers with the first job. p_job: {base_model, training_file, validation_file, hyperparameters, plan, suffix, seed,
-- metadata, created_by, spend_cap_usd, estimate, auto_start, parent_model}. The estimate's highest cost is set aside; what would pass
-- the project's cap is refused with spend_cap_reached.
create function tunebase.create_job(
  p_caller jsonb, p_job jsonb, p_request_hash text, p_idempotency_key text, p_is_retry boolean
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase.authorize(p_caller, 'jobs:write');
  v_id uuid := tunebase.uuid7();
  v_request tunebase.job_requests;
  v_training_file uuid;
  v_validation_file uuid;
  v_reserved numeric;
  v_cap numeric;
  v_starts boolean := coalesce((p_job ->> 'auto_start')::boolean, true);
  v_status text;
begin
  -- Two equal requests at once: the second waits here and then finds the first's row.
  perform pg_advisory_xact_lock(hashtextextended(
    v_project_id::text || coalesce('key ' || p_idempotency_key, 'hash ' || p_request_hash), 0
  ));
  if p_idempotency_key is not null then
    select * into v_request from tunebase.job_requests
    where project_id = v_project_id and idempotency_key = p_idempotency_key;
    if found and v_request.request_hash <> p_request_hash then
      perform tunebase.refuse('idempotency_key_reused', jsonb_build_object('key', p_idempotency_key));
    end if;
  elsif p_is_retry then
    select * into v_request from tunebase.job_requests
    where project_id = v_project_id and request_hash = p_request_hash and created_at > now() - interval '10 minutes'
    order by created_at desc limit 1;
  else
    -- A first request that its own retry has overtaken (a proxy held it up): the job is there. Once only, as the next
    -- of the same words is meant as another job.
    update tunebase.job_requests set overtook = false
    where overtook and project_id = v_project_id and request_hash = p_request_hash
      and created_at > now() - interval '10 minutes'
    returning * into v_request;
  end if;
  if v_request.job_id is not null then
    return tunebase.job_json(v_request.job_id);
  end if;

  v_training_file := tunebase.training_file(v_project_id, (p_job ->> 'training_file')::uuid, 'training_file');
  if p_job ->> 'validation_file' is not null then
    v_validation_file := tunebase.training_file(v_project_id, (p_job ->> 'validation_file')::uuid, 'validation_file');
  end if;
  if p_job ->> 'parent_model' is not null then
    -- Held, so that it is not deleted meanwhile.
    perform 1 from public.adapters
    where name = p_job ->> 'parent_model' and project_id = v_project_id and deleted_at is null
    for share;
    if not found then
      perform tunebase.refuse('model_not_found', jsonb_build_object('model', p_job ->> 'parent_model'));
    end if;
  end if;

  v_reserved := coalesce(round((p_job #>> '{estimate,cost,usd,high}')::numeric, 4), 0);
  v_reserved := least(v_reserved, (p_job ->> 'spend_cap_usd')::numeric);
  -- The project's row is locked only where there is a cap to keep: two jobs must not take the same room.
  select spend_cap_usd into v_cap from public.projects where id = v_project_id and spend_cap_usd is not null for no key update;
  if v_cap is not null and tunebase.project_spend(v_project_id) + v_reserved > v_cap then
    perform tunebase.refuse('spend_cap_reached', jsonb_build_object(
      'cap', v_cap, 'spent', tunebase.project_spend(v_project_id), 'reserved', v_reserved
    ));
  end if;

  insert into public.jobs (
    id, project_id, status, base_model, training_file, validation_file, hyperparameters, plan, suffix, seed,
    metadata, created_by, due_at, queued_at, total_epochs, spend_cap_usd, reserved_usd, estimate, auto_start,
    parent_model
  ) values (
    v_id, v_project_id, 'queued', p_job ->> 'base_model', v_training_file, v_validation_file,
    p_job -> 'hyperparameters', p_job -> 'plan', p_job ->> 'suffix', (p_job ->> 'seed')::integer,
    coalesce(p_job -> 'metadata', '{}'), p_job ->> 'created_by',
    now(), now(), (p_job -> 'plan' ->> 'num_epochs')::real,
    (p_job ->> 'spend_cap_usd')::numeric, v_reserved, nullif(p_job -> 'estimate', 'null'), v_starts,
    p_job ->> 'parent_model'
  ) returning status into v_status;
  insert into tunebase.job_requests (job_id, project_id, idempotency_key, request_hash, overtook)
  values (v_id, v_project_id, p_idempotency_key, p_request_hash, p_is_retry and p_idempotency_key is null);
  perform tunebase.add_event(v_id, 'info', 'Created fine-tuning job.');
  perform tunebase.add_event(v_id, 'info', case v_status
    when 'queued' then 'Files are valid; the job is queued for a GPU.'
    when 'paused' then 'Files are valid; the job waits to be started.'
    else 'The job waits until its files have been checked.'
  end);
  return tunebase.job_json(v_id);
end $$;

-- A job as the API shows it: its row, and the place in the queue that a person asks about.
create function tunebase.job_json(p_job_id uuid) returns jsonb
language sql stable set search_path = ''
as $$
  select to_jsonb(j) - 'plan'
  from public.jobs j where j.id = p_job_id
$$;

create function tunebase.get_job(p_caller jsonb, p_job_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase.authorize(p_caller, 'jobs:read');
begin
  if not exists (select from public.jobs where id = p_job_id and project_id = v_project_id) then
    perform tunebase.refuse('job_not_found');
  end if;
  return tunebase.job_json(p_job_id);
end $$;

create function tunebase.list_jobs(p_caller jsonb, p_after uuid, p_limit integer, p_metadata jsonb) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase.authorize(p_caller, 'jobs:read');
  v_rows jsonb;
begin
  if p_after is not null and not exists (select from public.jobs where id = p_after and project_id = v_project_id) then
    perform tunebase.refuse('cursor_not_found');
  end if;
  select jsonb_agg(to_jsonb(j) - 'plan' order by j.id desc) into v_rows from (
    select * from public.jobs
    where project_id = v_project_id
      and (p_after is null or id < p_after)
      and (p_metadata is null or metadata @> p_metadata)
    order by id desc limit p_limit + 1
  ) j;
  return tunebase.page(v_rows, p_limit);
end $$;

-- Cancels at once; the attempt on the GPU ends when RunPod or the worker confirms it, or its time is out.
create function tunebase.cancel_job(p_caller jsonb, p_job_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase.authorize(p_caller, 'jobs:write');
  v_job public.jobs;
begin
  select * into v_job from public.jobs where id = p_job_id and project_id = v_project_id for no key update;
  if not found then
    perform tunebase.refuse('job_not_found');
  end if;
  if tunebase.is_final(v_job.status) then
    perform tunebase.refuse('job_is_final', jsonb_build_object('status', v_job.status));
  end if;
  perform tunebase.cancel_job_now(p_job_id, 'info', 'The job was cancelled on request.');
  perform tunebase.unwant_attempts(p_job_id);
  return tunebase.job_json(p_job_id);
end $$;

-- Pauses: at once while no worker has it; a worker is ordered to save a checkpoint and stop. Again, it changes nothing.
create function tunebase.pause_job(p_caller jsonb, p_job_id uuid) returns jsonb
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
  elsif v_job.status = 'running' and not v_job.pause_wanted then
    update public.jobs set pause_wanted = true where id = p_job_id;
    perform tunebase.add_event(p_job_id, 'info', 'A pause was asked for; the trainer saves a checkpoint and stops.');
  elsif v_job.status in ('queued', 'validating_files') then
    perform tunebase.pause_now(p_job_id);
    perform tunebase.unwant_attempts(p_job_id);
  end if;
  return tunebase.job_json(p_job_id);
end $$;

-- Resumes a paused job, or takes a pause back that has not come about.
create function tunebase.resume_job(p_caller jsonb, p_job_id uuid) returns jsonb
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
  elsif v_job.status = 'paused' then
    perform tunebase.queue_now(p_job_id, 0);
    -- An attempt that was sent before the pause is on its way out; the next one waits for its end.
    update public.jobs set due_at = 'infinity', tries = 0
    where id = p_job_id and exists (select from public.attempts where job_id = p_job_id and state <> 'ended');
    perform tunebase.add_event(p_job_id, 'info', 'The job was resumed; it is queued for a GPU.');
  elsif v_job.pause_wanted then
    update public.jobs set pause_wanted = false where id = p_job_id;
    perform tunebase.add_event(p_job_id, 'info', 'The pause was taken back.');
  else
    perform tunebase.refuse('job_not_paused', jsonb_build_object('status', v_job.status));
  end if;
  return tunebase.job_json(p_job_id);
end $$;

create function tunebase.list_events(p_caller jsonb, p_job_id uuid, p_after uuid, p_limit integer) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase.authorize(p_caller, 'jobs:read');
  v_before integer;
  v_rows jsonb;
begin
  if not exists (select from public.jobs where id = p_job_id and project_id = v_project_id) then
    perform tunebase.refuse('job_not_found');
  end if;
  if p_after is not null then
    select number into v_before from public.events where id = p_after and job_id = p_job_id;
    if not found then
      perform tunebase.refuse('cursor_not_found');
    end if;
  end if;
  select jsonb_agg(to_jsonb(e) order by e.number desc) into v_rows from (
    select * from public.events
    where job_id = p_job_id and (v_before is null or number < v_before)
    order by number desc limit p_limit + 1
  ) e;
  return tunebase.page(v_rows, p_limit);
end $$;

create function tunebase.get_adapter(p_caller jsonb, p_job_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_job jsonb := tunebase.get_job(p_caller, p_job_id);
  v_adapter public.adapters;
begin
  select * into v_adapter from public.adapters where job_id = p_job_id;
  if not found then
    perform tunebase.refuse('adapter_not_ready', jsonb_build_object('status', v_job ->> 'status'));
  end if;
  return to_jsonb(v_adapter);
end $$;

-- Takes a file away from its project; jobs that were trained on it keep its row. The scheduler removes the bytes.
create function tunebase.delete_file(p_caller jsonb, p_id uuid) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase.authorize(p_caller, 'files:write');
  v_file public.files;
begin
  select * into v_file from public.files
  where id = p_id and project_id = v_project_id and deleted_at is null
  for update;
  if not found then
    perform tunebase.refuse('file_not_found');
  end if;
  if exists (
    select from public.jobs
    where (training_file = p_id or validation_file = p_id) and not tunebase.is_final(status)
  ) then
    perform tunebase.refuse('file_in_use');
  end if;
  update public.files set deleted_at = now() where id = p_id;
  insert into tunebase.garbage (bucket, object) values ('datasets', v_file.object) on conflict do nothing;
end $$;
