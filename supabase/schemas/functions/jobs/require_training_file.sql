-- Checks a file for a new job: it must belong to the project, be for training, and not be invalid. One that is still being
-- validated is accepted: the job waits for it.
create function tunebase_internal.require_training_file(p_project_id uuid, p_file_id uuid, p_param text) returns uuid
language plpgsql stable set search_path = ''
as $$
declare
  v_file tunebase.files;
begin
  select * into v_file from tunebase.files
  where id = p_file_id and project_id = p_project_id and deleted_at is null;
  if not found then
    perform tunebase_internal.raise_api_error('file_not_found', jsonb_build_object('param', p_param));
  elsif v_file.purpose <> 'fine-tune' then
    perform tunebase_internal.raise_api_error('wrong_purpose', jsonb_build_object('param', p_param, 'purpose', v_file.purpose));
  elsif v_file.status = 'error' then
    perform tunebase_internal.raise_api_error('file_not_ready', jsonb_build_object('param', p_param, 'status', v_file.status));
  end if;
  return v_file.id;
end $$;
