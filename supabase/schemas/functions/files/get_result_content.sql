-- The content of a result file.
create function tunebase_internal.get_result_content(p_caller jsonb, p_file_id uuid) returns text
language plpgsql security definer set search_path = ''
as $$
begin
  perform tunebase_internal.get_file(p_caller, p_file_id);
  return (select content from tunebase_internal.result_contents where file_id = p_file_id);
end $$;
