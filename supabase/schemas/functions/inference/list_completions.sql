-- Stored completions, oldest first by default, as OpenAI lists them.
create function tunebase_internal.list_completions(
  p_caller jsonb, p_filter jsonb, p_after uuid, p_ascending boolean, p_limit integer
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'files:read');
  v_rows jsonb;
begin
  if p_after is not null and not exists (
    select from tunebase.stored_completions where id = p_after and project_id = v_project_id
  ) then
    perform tunebase_internal.raise_api_error('cursor_not_found');
  end if;
  if p_ascending then
    select jsonb_agg(to_jsonb(c) order by c.id) into v_rows from (
      select * from tunebase_internal.select_completions(v_project_id, p_filter)
      where p_after is null or id > p_after
      order by id limit p_limit + 1
    ) c;
  else
    select jsonb_agg(to_jsonb(c) order by c.id desc) into v_rows from (
      select * from tunebase_internal.select_completions(v_project_id, p_filter)
      where p_after is null or id < p_after
      order by id desc limit p_limit + 1
    ) c;
  end if;
  return tunebase_internal.paginate(v_rows, p_limit);
end $$;
