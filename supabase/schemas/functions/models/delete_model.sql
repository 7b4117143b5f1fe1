-- Deletes a fine-tune of the project and orphans its files and those of its checkpoints. Raises model_in_use while an open
-- job continues from it.
create function tunebase_internal.delete_model(p_caller jsonb, p_name text) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'jobs:write');
  v_adapter tunebase.adapters;
begin
  -- The job's row first: every function takes its locks in this order.
  perform 1 from tunebase.jobs where fine_tuned_model = p_name and project_id = v_project_id for no key update;
  update tunebase.adapters set deleted_at = now()
  where name = p_name and project_id = v_project_id and deleted_at is null
  returning * into v_adapter;
  if not found then
    perform tunebase_internal.require_base_model(p_name);
    perform tunebase_internal.raise_api_error('model_not_own', jsonb_build_object('model', p_name));
  end if;
  if exists (
    select from tunebase.jobs where parent_model = p_name and not tunebase_internal.is_terminal(status)
  ) then
    perform tunebase_internal.raise_api_error('model_in_use', jsonb_build_object('model', p_name));
  end if;
  with checkpoints as (
    delete from tunebase.checkpoints where job_id = v_adapter.job_id returning attempt_id, files
  ), files as (
    select v_adapter.prefix as prefix, v_adapter.manifest -> 'files' as files
    union all
    select tunebase_internal.artifact_prefix(attempt_id), files from checkpoints
  )
  insert into tunebase_internal.orphaned_objects (bucket, object)
  select 'tunebase-adapters', f.prefix || '/' || (one ->> 'path')
  from files f, jsonb_array_elements(f.files) one
  on conflict do nothing;
  perform tunebase_internal.add_event(v_adapter.job_id, 'info', format('The model %s was deleted on request.', p_name));
end $$;
