create function tunebase_internal.get_adapter(p_caller jsonb, p_job_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_job jsonb := tunebase_internal.get_job(p_caller, p_job_id);
  v_adapter tunebase.adapters;
begin
  select * into v_adapter from tunebase.adapters where job_id = p_job_id;
  if not found then
    perform tunebase_internal.raise_api_error('adapter_not_ready', jsonb_build_object('status', v_job ->> 'status'));
  elsif v_adapter.deleted_at is not null then
    perform tunebase_internal.raise_api_error('adapter_deleted', jsonb_build_object('model', v_adapter.name));
  end if;
  return to_jsonb(v_adapter);
end $$;
