-- Locks the fine-tuned model that a new job continues from, so that it cannot be deleted before the job exists.
create function tunebase_internal.lock_parent_model(p_project_id uuid, p_name text) returns void
language plpgsql set search_path = ''
as $$
begin
  perform from tunebase.adapters where name = p_name and project_id = p_project_id and deleted_at is null for share;
  if not found then
    perform tunebase_internal.raise_api_error('model_not_found', jsonb_build_object('model', p_name));
  end if;
end $$;
