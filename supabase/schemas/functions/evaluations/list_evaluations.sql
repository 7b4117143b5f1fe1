-- Newest first. p_filter: any of {model, file_id}.
create function tunebase_internal.list_evaluations(p_caller jsonb, p_after uuid, p_limit integer, p_filter jsonb) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'models:read');
  v_rows jsonb;
begin
  if p_after is not null and not exists (select from tunebase.evaluations where id = p_after and project_id = v_project_id) then
    perform tunebase_internal.raise_api_error('cursor_not_found');
  end if;
  select jsonb_agg(tunebase_internal.evaluation_json(e) order by e.id desc) into v_rows from (
    select * from tunebase.evaluations
    where project_id = v_project_id and (p_after is null or id < p_after)
      and (p_filter -> 'model' is null or p_filter ->> 'model' = any (models))
      and (p_filter -> 'file_id' is null or file_id = (p_filter ->> 'file_id')::uuid)
    order by id desc limit p_limit + 1
  ) e;
  return tunebase_internal.paginate(v_rows, p_limit);
end $$;
