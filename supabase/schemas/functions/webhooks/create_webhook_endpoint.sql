-- p_endpoint: {name, url, event_types, progress_seconds}. A repeated request returns the endpoint that it created before.
create function tunebase_internal.create_webhook_endpoint(p_caller jsonb, p_endpoint jsonb) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'webhooks:write');
  v_id uuid := tunebase_internal.find_created_resource(p_caller);
begin
  if exists (select from tunebase.webhook_endpoints where id = v_id and project_id = v_project_id) then
    return tunebase_internal.webhook_endpoint_json(v_project_id, v_id);
  end if;
  -- One at a time per project, to enforce the limit.
  perform pg_advisory_xact_lock(hashtextextended('tunebase endpoints ' || v_project_id, 0));
  if (select count(*) from tunebase.webhook_endpoints where project_id = v_project_id) >= 50 then
    perform tunebase_internal.raise_api_error('quota_exceeded', jsonb_build_object(
      'what', 'webhook endpoints per project', 'limit', 50, 'used', 50, 'fix', 'Delete one and try again.'
    ));
  end if;
  insert into tunebase.webhook_endpoints (project_id, name, url, event_types, progress_seconds)
  values (
    v_project_id, p_endpoint ->> 'name', p_endpoint ->> 'url',
    array(select jsonb_array_elements_text(p_endpoint -> 'event_types')),
    coalesce((p_endpoint ->> 'progress_seconds')::integer, 60)
  )
  returning id into v_id;
  perform tunebase_internal.record_created_resource(p_caller, v_id);
  return tunebase_internal.webhook_endpoint_json(v_project_id, v_id);
end $$;
