-- A file of the project. Raises file_not_found.
create function tunebase_internal.require_file(p_project_id uuid, p_id uuid) returns tunebase.files
language plpgsql stable set search_path = ''
as $$
declare
  v_file tunebase.files;
begin
  select * into v_file from tunebase.files where id = p_id and project_id = p_project_id and deleted_at is null;
  if not found then
    perform tunebase_internal.raise_api_error('file_not_found');
  end if;
  return v_file;
end $$;
