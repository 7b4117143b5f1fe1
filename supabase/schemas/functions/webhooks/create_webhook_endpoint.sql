-- p_endpoint: {name, url, event_types, progress_seconds}. The SDKs send a create again when its answer was lost, and
-- say so: an equal endpoint of the last ten minutes answers it.
create function tunebase_internal.create_webhook_endpoint(p_caller jsonb, p_endpoint jsonb, p_is_retry boolean) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'webhooks:write');
  v_types text[] := array(select jsonb_array_elements_text(p_endpoint -> 'event_types'));
  v_id uuid;
begin
  -- Serialized per project: the limit is counted, and equal retries find each other.
  perform pg_advisory_xact_lock(hashtextextended('tunebase endpoints ' || v_project_id, 0));
  if p_is_retry then
    select id into v_id from tunebase.webhook_endpoints
    where project_id = v_project_id and name = p_endpoint ->> 'name' and url = p_endpoint ->> 'url'
      and event_types = v_types and created_at > now() - interval '10 minutes'
    order by id desc limit 1;
    if found then
      return tunebase_internal.webhook_endpoint_json(v_project_id, v_id);
    end if;
  end if;
  if (select count(*) from tunebase.webhook_endpoints where project_id = v_project_id) >= 50 then
    perform tunebase_internal.raise_api_error('quota_exceeded', jsonb_build_object(
      'what', 'webhook endpoints per project', 'limit', 50, 'used', 50, 'fix', 'Delete one and try again.'
    ));
  end if;
  insert into tunebase.webhook_endpoints (project_id, name, url, event_types, progress_seconds)
  values (
    v_project_id, p_endpoint ->> 'name', p_endpoint ->> 'url', v_types,
    coalesce((p_endpoint ->> 'progress_seconds')::integer, 60)
  )
  returning id into v_id;
  return tunebase_internal.webhook_endpoint_json(v_project_id, v_id);
end $$;
