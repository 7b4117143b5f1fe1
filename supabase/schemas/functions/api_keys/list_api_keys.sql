-- The project's API keys, newest first, including revoked ones.
create function tunebase_internal.list_api_keys(p_caller jsonb, p_after uuid, p_limit integer) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'project:read');
  v_rows jsonb;
begin
  if p_after is not null and not exists (select from tunebase.api_keys where id = p_after and project_id = v_project_id) then
    perform tunebase_internal.raise_api_error('cursor_not_found');
  end if;
  select jsonb_agg(to_jsonb(k) order by k.id desc) into v_rows from (
    select * from tunebase.api_keys
    where project_id = v_project_id and (p_after is null or id < p_after)
    order by id desc limit p_limit + 1
  ) k;
  return tunebase_internal.paginate(v_rows, p_limit);
end $$;
