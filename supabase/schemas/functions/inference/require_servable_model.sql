-- Resolves a model's name to what the engine serves: {model, base_model, endpoint_id, source, revision, max_length,
-- adapter_id, adapter}. `adapter` is null for a base model, otherwise {id, rank, files: [{path, object, bytes, sha256}]} with
-- the id of the fine-tune's or the checkpoint's row. Raises model_not_found, also for models of other projects, and
-- model_not_servable.
create function tunebase_internal.require_servable_model(p_project_id uuid, p_name text) returns jsonb
language plpgsql stable set search_path = ''
as $$
declare
  v_base tunebase.base_models;
  v_found record;
  v_files jsonb;
  v_reason text;
begin
  select a.id, a.id as adapter_id, a.base_model, a.prefix, a.manifest -> 'files' as files,
    a.manifest -> 'hyperparameters' as training
  into v_found
  from tunebase.adapters a where a.name = p_name and a.project_id = p_project_id and a.deleted_at is null;
  if not found and p_name ~ '^ft:[^:]+:ftjob-[0-9a-f]{32}:ckpt-step-[0-9]{1,9}$' then
    select c.id, null::uuid as adapter_id, j.base_model, tunebase_internal.artifact_prefix(c.attempt_id) as prefix, c.files,
      j.plan as training
    into v_found
    from tunebase.checkpoints c join tunebase.jobs j on j.id = c.job_id
    where j.id = substring(p_name from 'ftjob-([0-9a-f]{32})')::uuid and j.project_id = p_project_id
      and j.base_model = split_part(p_name, ':', 2) and c.step = substring(p_name from '[0-9]+$')::integer
    -- An attempt that resumed from an earlier checkpoint may have saved this step again.
    order by c.id desc limit 1;
  end if;
  select * into v_base from tunebase.base_models
  where id = coalesce(v_found.base_model, p_name) and (enabled or v_found.id is not null);
  if not found then
    perform tunebase_internal.raise_api_error('model_not_found', jsonb_build_object(
      'model', p_name, 'offered', coalesce((
        select jsonb_agg(id order by id) from tunebase.base_models where enabled and inference_endpoint_id is not null
      ), '[]')
    ));
  end if;
  v_reason := tunebase_internal.unservable_reason(v_base, v_found.training);
  if v_found.id is not null then
    select jsonb_agg(jsonb_build_object(
      'path', f.name, 'object', v_found.prefix || '/' || (f.file ->> 'path'),
      'bytes', f.file -> 'bytes', 'sha256', f.file -> 'sha256'
    ) order by f.name) into v_files
    from (
      select file, regexp_replace(file ->> 'path', '^checkpoints/[0-9]+/', '') as name
      from jsonb_array_elements(v_found.files) file
    ) f
    where f.name in ('adapter_config.json', 'adapter_model.safetensors');
    if v_files is null then
      v_reason := coalesce(v_reason, 'It has no adapter weights.');
    end if;
  end if;
  if v_reason is not null then
    perform tunebase_internal.raise_api_error('model_not_servable', jsonb_build_object(
      'param', 'model', 'model', p_name, 'reason', v_reason
    ));
  end if;
  return jsonb_build_object(
    'model', p_name, 'base_model', v_base.id, 'endpoint_id', v_base.inference_endpoint_id, 'source', v_base.source,
    'revision', v_base.revision, 'max_length', coalesce(v_base.inference_max_length, v_base.max_length),
    'adapter_id', v_found.adapter_id,
    'adapter', case when v_found.id is not null then jsonb_build_object(
      'id', v_found.id, 'rank', tunebase_internal.adapter_rank(v_found.training), 'files', v_files
    ) end
  );
end $$;
