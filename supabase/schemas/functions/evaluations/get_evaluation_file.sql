-- A file to evaluate models with.
create function tunebase_internal.get_evaluation_file(p_caller jsonb, p_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'inference');
  v_file tunebase.files;
begin
  select * into v_file from tunebase.files where id = p_id and project_id = v_project_id and deleted_at is null;
  if not found then
    perform tunebase_internal.raise_api_error('file_not_found');
  end if;
  return to_jsonb(v_file);
end $$;
