-- A fine-tune for the API.
create function tunebase_internal.fine_tune_json(p_adapter tunebase.adapters) returns jsonb
language sql stable set search_path = ''
as $$
  select jsonb_build_object(
    'name', p_adapter.name, 'created_at', p_adapter.created_at, 'project_id', p_adapter.project_id,
    'base_model', p_adapter.base_model, 'job_id', p_adapter.job_id, 'bytes', p_adapter.bytes,
    'servable_reason', (
      select tunebase_internal.unservable_reason(b, coalesce(p_adapter.manifest -> 'hyperparameters', '{}'))
      from tunebase.base_models b where b.id = p_adapter.base_model
    )
  )
$$;
