-- Creates a job, as before; `warnings` of p_job become its first events.
create function tunebase_internal.create_job(
  p_caller jsonb, p_job jsonb, p_request_hash text, p_idempotency_key text, p_is_retry boolean
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'jobs:write');
  v_id uuid := tunebase_internal.uuid7();
  v_request tunebase_internal.job_requests;
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
    select * into v_request from tunebase_internal.job_requests
    where project_id = v_project_id and idempotency_key = p_idempotency_key;
    if found and v_request.request_hash <> p_request_hash then
      perform tunebase_internal.raise_api_error('idempotency_key_reused', jsonb_build_object('key', p_idempotency_key));
    end if;
  elsif p_is_retry then
    select * into v_request from tunebase_internal.job_requests
    where project_id = v_project_id and request_hash = p_request_hash and created_at > now() - interval '10 minutes'
    order by created_at desc limit 1;
  else
    -- A first request that its own retry has overtaken (a proxy held it up): the job is there. Once only, as the next
    -- of the same words is meant as another job.
    update tunebase_internal.job_requests set created_by_retry = false
    where created_by_retry and project_id = v_project_id and request_hash = p_request_hash
      and created_at > now() - interval '10 minutes'
    returning * into v_request;
  end if;
  if v_request.job_id is not null then
    return tunebase_internal.job_json(v_request.job_id);
  end if;

  v_training_file := tunebase_internal.require_training_file(v_project_id, (p_job ->> 'training_file')::uuid, 'training_file');
  if p_job ->> 'validation_file' is not null then
    v_validation_file := tunebase_internal.require_training_file(v_project_id, (p_job ->> 'validation_file')::uuid, 'validation_file');
  end if;
  if p_job ->> 'parent_model' is not null then
    -- Held, so that it is not deleted meanwhile.
    perform 1 from tunebase.adapters
    where name = p_job ->> 'parent_model' and project_id = v_project_id and deleted_at is null
    for share;
    if not found then
      perform tunebase_internal.raise_api_error('model_not_found', jsonb_build_object('model', p_job ->> 'parent_model'));
    end if;
  end if;

  v_reserved := coalesce(round((p_job #>> '{estimate,cost,usd,high}')::numeric, 4), 0);
  v_reserved := least(v_reserved, (p_job ->> 'spend_cap_usd')::numeric);
  -- The project's row is locked only where there is a cap to keep: two jobs must not take the same room.
  select spend_cap_usd into v_cap from tunebase.projects where id = v_project_id and spend_cap_usd is not null for no key update;
  if v_cap is not null and tunebase_internal.project_spend(v_project_id) + v_reserved > v_cap then
    perform tunebase_internal.raise_api_error('spend_cap_exceeded', jsonb_build_object(
      'cap', v_cap, 'spent', tunebase_internal.project_spend(v_project_id), 'reserved', v_reserved
    ));
  end if;

  insert into tunebase.jobs (
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
  insert into tunebase_internal.job_requests (job_id, project_id, idempotency_key, request_hash, created_by_retry)
  values (v_id, v_project_id, p_idempotency_key, p_request_hash, p_is_retry and p_idempotency_key is null);
  perform tunebase_internal.add_event(v_id, 'info', 'Created fine-tuning job.');
  -- A plan that learns next to nothing says so before it costs anything.
  perform tunebase_internal.add_event(v_id, 'warn', w) from jsonb_array_elements_text(coalesce(p_job -> 'warnings', '[]')) w;
  perform tunebase_internal.add_event(v_id, 'info', case v_status
    when 'queued' then 'Files are valid; the job is queued for a GPU.'
    when 'paused' then 'Files are valid; the job waits to be started.'
    else 'The job waits until its files have been checked.'
  end);
  return tunebase_internal.job_json(v_id);
end $$;
