-- Raises quota_exceeded if p_bytes more would exceed the project's storage quota, including pending uploads. Locks the
-- project, so that two uploads cannot use the same quota. Call it before storing bytes, if their number is known.
create function tunebase_internal.check_storage_quota(p_project_id uuid, p_bytes bigint) returns void
language plpgsql set search_path = ''
as $$
declare
  v_limit bigint;
  v_used bigint;
begin
  select max_storage_bytes into v_limit from tunebase.projects where id = p_project_id for no key update;
  if v_limit is null then
    return;
  end if;
  v_used := tunebase_internal.stored_bytes(p_project_id) + tunebase_internal.pending_bytes(p_project_id);
  if v_used + p_bytes > v_limit then
    perform tunebase_internal.raise_api_error('quota_exceeded', jsonb_build_object(
      'what', 'bytes of storage', 'limit', v_limit, 'used', v_used, 'param', 'file',
      'fix', format('This file has %s bytes. Delete files, or ask the operator to raise max_storage_bytes.', p_bytes)
    ));
  end if;
end $$;
