-- Lists a project's members.
create function tunebase_internal.list_members(p_caller jsonb, p_project_id uuid, p_after uuid, p_limit integer) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_since timestamptz;
  v_rows jsonb;
begin
  perform tunebase_internal.authorize_project(p_caller, p_project_id, 'project:read');
  if p_after is not null then
    select created_at into v_since from tunebase.project_members where project_id = p_project_id and user_id = p_after;
    if not found then
      perform tunebase_internal.raise_api_error('cursor_not_found');
    end if;
  end if;
  select jsonb_agg(to_jsonb(x) order by x.created_at, x.user_id) into v_rows from (
    select m.*, u.email from tunebase.project_members m
    join auth.users u on u.id = m.user_id
    where m.project_id = p_project_id and (v_since is null or (m.created_at, m.user_id) > (v_since, p_after))
    order by m.created_at, m.user_id limit p_limit + 1
  ) x;
  return tunebase_internal.paginate(v_rows, p_limit);
end $$;
