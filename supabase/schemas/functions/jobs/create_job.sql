-- Creates a job with its first events, queued or waiting (waiting_status). A repeated request returns the job that it
-- created before. p_job: {base_model, training_file, validation_file, hyperparameters, plan, suffix, seed,
-- metadata, created_by, spend_cap_usd, estimate, auto_start, parent_model, warnings}; warnings become events.
create function tunebase_internal.create_job(p_caller jsonb, p_job jsonb) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'jobs:write');
  v_id uuid := tunebase_internal.find_created_resource(p_caller);
  v_training_file uuid := (p_job ->> 'training_file')::uuid;
  v_validation_file uuid := (p_job ->> 'validation_file')::uuid;
  v_auto_start boolean := coalesce((p_job ->> 'auto_start')::boolean, true);
  -- The high end of its cost estimate, at most its own cap.
  v_reserved numeric := least(
    coalesce(round((p_job #>> '{estimate,cost,usd,high}')::numeric, 4), 0), (p_job ->> 'spend_cap_usd')::numeric
  );
  v_status text;
  v_messages text[];
begin
  -- Nested, because Postgres would plan the query at every call: the plan for a null ID is cheaper than the generic one.
  if v_id is not null then
    if exists (select from tunebase.jobs where id = v_id and project_id = v_project_id) then
      return tunebase_internal.job_json(v_id);
    end if;
  end if;
  v_id := tunebase_internal.uuid7();
  v_status := tunebase_internal.waiting_status(
    tunebase_internal.lock_training_files(v_project_id, v_training_file, v_validation_file), v_auto_start
  );
  if p_job ->> 'parent_model' is not null then
    perform tunebase_internal.lock_parent_model(v_project_id, p_job ->> 'parent_model');
  end if;
  v_messages := text 'Created fine-tuning job.'
    || array(select jsonb_array_elements_text(coalesce(p_job -> 'warnings', '[]')))
    || tunebase_internal.waiting_message(v_status);

  -- One write, including the number of the last event: updating a row that this transaction has written checks the row's
  -- foreign keys again.
  insert into tunebase.jobs (
    id, project_id, status, base_model, training_file, validation_file, hyperparameters, plan, suffix, seed,
    metadata, created_by, due_at, queued_at, total_epochs, spend_cap_usd, reserved_usd, estimate, auto_start,
    parent_model, last_event
  ) values (
    v_id, v_project_id, v_status, p_job ->> 'base_model', v_training_file, v_validation_file,
    p_job -> 'hyperparameters', p_job -> 'plan', p_job ->> 'suffix', (p_job ->> 'seed')::integer,
    coalesce(p_job -> 'metadata', '{}'), p_job ->> 'created_by',
    case when v_status = 'queued' then now() end, case when v_status = 'queued' then now() end,
    (p_job -> 'plan' ->> 'num_epochs')::real, (p_job ->> 'spend_cap_usd')::numeric, v_reserved,
    nullif(p_job -> 'estimate', 'null'), v_auto_start, p_job ->> 'parent_model', cardinality(v_messages)
  );
  insert into tunebase.events (job_id, project_id, number, level, type, message)
  select v_id, v_project_id, number, case when number in (1, cardinality(v_messages)) then 'info' else 'warn' end,
    'message', message
  from unnest(v_messages) with ordinality m (message, number);
  perform tunebase_internal.record_created_resource(p_caller, v_id);
  if v_validation_file is not null and v_status <> 'validating_files' then
    perform tunebase_internal.warn_dataset_overlap(v_id);
  end if;
  if v_status = 'queued' then
    perform tunebase_internal.wake_scheduler();
  end if;
  perform tunebase_internal.require_spend_room(v_project_id, v_reserved, false);
  return tunebase_internal.job_json(v_id);
end $$;
