create function tunebase_internal.list_checkpoints(p_caller jsonb, p_job_id uuid, p_after uuid, p_limit integer) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_job tunebase.jobs := tunebase_internal.authorize_job(p_caller, p_job_id);
  v_rows jsonb;
begin
  if p_after is not null and not exists (select from tunebase.checkpoints where id = p_after and job_id = v_job.id) then
    perform tunebase_internal.raise_api_error('cursor_not_found');
  end if;
  select jsonb_agg(to_jsonb(c) || jsonb_build_object('model', v_job.base_model) order by c.id desc) into v_rows from (
    select * from tunebase.checkpoints
    where job_id = v_job.id and (p_after is null or id < p_after)
    order by id desc limit p_limit + 1
  ) c;
  return tunebase_internal.paginate(v_rows, p_limit);
end $$;
