-- Fine-tuned models as clients see them: listed beside the base models, read by name, deleted; and what a checkpoint holds.

-- A fine-tune as a model: what of it a client is shown.
create function tunebase.fine_tune_json(p_adapter public.adapters) returns jsonb
language sql stable set search_path = ''
as $$
  select jsonb_build_object(
    'name', p_adapter.name, 'created_at', p_adapter.created_at, 'project_id', p_adapter.project_id,
    'base_model', p_adapter.base_model, 'job_id', p_adapter.job_id, 'bytes', p_adapter.bytes
  )
$$;

-- The base models on offer and the project's own fine-tunes: {offered, own}, the newest fine-tune first.
create or replace function tunebase.list_models(p_caller jsonb) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase.authorize(p_caller, 'models:read');
begin
  return jsonb_build_object(
    'offered', coalesce((select jsonb_agg(to_jsonb(m) order by m.id) from public.base_models m where m.offered), '[]'),
    'own', coalesce((
      select jsonb_agg(tunebase.fine_tune_json(a) order by a.id desc)
      from public.adapters a where a.project_id = v_project_id and a.deleted_at is null
    ), '[]')
  );
end $$;

-- A model by name, of either kind: {offered} or {own}. Refuses with model_not_found.
create function tunebase.find_model(p_caller jsonb, p_name text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase.authorize(p_caller, 'models:read');
  v_adapter public.adapters;
begin
  select * into v_adapter from public.adapters
  where name = p_name and project_id = v_project_id and deleted_at is null;
  if found then
    return jsonb_build_object('own', tunebase.fine_tune_json(v_adapter));
  end if;
  return jsonb_build_object('offered', tunebase.get_model(p_caller, p_name, 'models:read'));
end $$;

-- Deletes a fine-tune of the project: its files, and those of its checkpoints, which are as good as it is, become garbage.
-- Again, it is not found. Refused while a job that has not ended trains on from it.
create function tunebase.delete_model(p_caller jsonb, p_name text) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase.authorize(p_caller, 'jobs:write');
  v_adapter public.adapters;
begin
  -- The job's row first, as every move takes its locks.
  perform 1 from public.jobs where fine_tuned_model = p_name and project_id = v_project_id for no key update;
  update public.adapters set deleted_at = now()
  where name = p_name and project_id = v_project_id and deleted_at is null
  returning * into v_adapter;
  if not found then
    perform tunebase.get_model(p_caller, p_name, 'jobs:write');
    perform tunebase.refuse('model_not_own', jsonb_build_object('model', p_name));
  end if;
  if exists (
    select from public.jobs where parent_model = p_name and not tunebase.is_final(status)
  ) then
    perform tunebase.refuse('model_in_use', jsonb_build_object('model', p_name));
  end if;
  with checkpoints as (
    delete from public.checkpoints where job_id = v_adapter.job_id returning attempt_id, files
  ), files as (
    select v_adapter.prefix as prefix, v_adapter.manifest -> 'files' as files
    union all
    select tunebase.artifact_prefix(attempt_id), files from checkpoints
  )
  insert into tunebase.garbage (bucket, object)
  select 'adapters', f.prefix || '/' || (one ->> 'path')
  from files f, jsonb_array_elements(f.files) one
  on conflict do nothing;
  perform tunebase.add_event(v_adapter.job_id, 'info', format('The model %s was deleted on request.', p_name));
end $$;

create or replace function tunebase.get_adapter(p_caller jsonb, p_job_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_job jsonb := tunebase.get_job(p_caller, p_job_id);
  v_adapter public.adapters;
begin
  select * into v_adapter from public.adapters where job_id = p_job_id;
  if not found then
    perform tunebase.refuse('adapter_not_ready', jsonb_build_object('status', v_job ->> 'status'));
  elsif v_adapter.deleted_at is not null then
    perform tunebase.refuse('adapter_deleted', jsonb_build_object('model', v_adapter.name));
  end if;
  return to_jsonb(v_adapter);
end $$;

-- A checkpoint of a job, and where its files lie in the bucket `adapters`.
create function tunebase.get_checkpoint(p_caller jsonb, p_job_id uuid, p_checkpoint_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_job public.jobs := tunebase.own_job(p_caller, p_job_id);
  v_checkpoint public.checkpoints;
begin
  select * into v_checkpoint from public.checkpoints where id = p_checkpoint_id and job_id = v_job.id;
  if not found then
    perform tunebase.refuse('checkpoint_not_found');
  end if;
  return to_jsonb(v_checkpoint) || jsonb_build_object(
    'model', v_job.base_model, 'prefix', tunebase.artifact_prefix(v_checkpoint.attempt_id)
  );
end $$;

revoke execute on all functions in schema tunebase from public;
grant execute on function
  tunebase.find_model(jsonb, text),
  tunebase.delete_model(jsonb, text),
  tunebase.get_checkpoint(jsonb, uuid, uuid)
to tunebase_api;
