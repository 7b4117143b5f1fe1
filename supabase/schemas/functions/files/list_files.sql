-- Newest first by default. The cursor is the last file's id, because ids sort by time. Row errors and converted
-- rows are left out: a page may hold 10,000 files.
create function tunebase_internal.list_files(p_caller jsonb, p_purpose text, p_after uuid, p_ascending boolean, p_limit integer)
returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'files:read');
  v_rows jsonb;
begin
  if p_after is not null and not exists (select from tunebase.files where id = p_after and project_id = v_project_id) then
    perform tunebase_internal.raise_api_error('cursor_not_found');
  end if;
  -- Two statements, because a case in `order by` could not use the index and stop at the limit.
  if p_ascending then
    select jsonb_agg(to_jsonb(f) #- '{report,errors}' #- '{conversion,sample}' order by f.id) into v_rows from (
      select * from tunebase.files
      where project_id = v_project_id and deleted_at is null
        and (p_after is null or id > p_after) and (p_purpose is null or purpose = p_purpose)
      order by id limit p_limit + 1
    ) f;
  else
    select jsonb_agg(to_jsonb(f) #- '{report,errors}' #- '{conversion,sample}' order by f.id desc) into v_rows from (
      select * from tunebase.files
      where project_id = v_project_id and deleted_at is null
        and (p_after is null or id < p_after) and (p_purpose is null or purpose = p_purpose)
      order by id desc limit p_limit + 1
    ) f;
  end if;
  return tunebase_internal.paginate(v_rows, p_limit);
end $$;
