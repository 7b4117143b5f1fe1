-- The caller's projects, newest first.
create function tunebase_internal.list_projects(p_caller jsonb, p_after uuid, p_limit integer, p_archived boolean) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_key_project uuid;
  v_rows jsonb;
begin
  if p_caller ? 'key_hash' then
    v_key_project := tunebase_internal.authorize(p_caller, 'project:read');
  end if;
  select jsonb_agg(tunebase_internal.project_json(x.project, x.role) order by (x.project).id desc) into v_rows from (
    select p as project, m.role from tunebase.projects p
    left join tunebase.project_members m on m.project_id = p.id and m.user_id = (p_caller ->> 'user_id')::uuid
    where p.id in (
        select v_key_project where v_key_project is not null
        union all
        select o.project_id from tunebase.project_members o where o.user_id = (p_caller ->> 'user_id')::uuid
      )
      and (p_archived or p.archived_at is null)
      and (p_after is null or p.id < p_after)
    order by p.id desc limit p_limit + 1
  ) x;
  return tunebase_internal.paginate(v_rows, p_limit);
end $$;
