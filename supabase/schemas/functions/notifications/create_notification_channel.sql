-- p_channel: {id, kind, target, event_types, encrypted_url}; the API chooses the id, because encrypted_url is bound to it. A
-- repeated request returns the channel that it created before. Raises email_not_member unless an email address is a
-- member's confirmed one.
create function tunebase_internal.create_notification_channel(p_caller jsonb, p_channel jsonb) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'webhooks:write');
  v_id uuid := (p_channel ->> 'id')::uuid;
  v_existing_id uuid := tunebase_internal.find_created_resource(p_caller);
begin
  if exists (select from tunebase.notification_channels where id = v_existing_id and project_id = v_project_id) then
    return tunebase_internal.notification_channel_json(v_project_id, v_existing_id);
  end if;
  -- One at a time per project, to enforce the limit.
  perform pg_advisory_xact_lock(hashtextextended('tunebase channels ' || v_project_id, 0));
  if p_channel ->> 'kind' = 'email' and not tunebase_internal.is_member_email(v_project_id, p_channel ->> 'target') then
    perform tunebase_internal.raise_api_error('email_not_member', jsonb_build_object(
      'param', 'target', 'address', p_channel ->> 'target'
    ));
  end if;
  if (select count(*) from tunebase.notification_channels where project_id = v_project_id) >= 20 then
    perform tunebase_internal.raise_api_error('quota_exceeded', jsonb_build_object(
      'what', 'notification channels per project', 'limit', 20, 'used', 20, 'fix', 'Delete one and try again.'
    ));
  end if;
  insert into tunebase.notification_channels (id, project_id, kind, target, event_types)
  values (
    v_id, v_project_id, p_channel ->> 'kind', p_channel ->> 'target',
    array(select jsonb_array_elements_text(p_channel -> 'event_types'))
  );
  if p_channel ->> 'encrypted_url' is not null then
    insert into tunebase_internal.channel_secrets (channel_id, encrypted_url) values (v_id, p_channel ->> 'encrypted_url');
  end if;
  perform tunebase_internal.record_created_resource(p_caller, v_id);
  return tunebase_internal.notification_channel_json(v_project_id, v_id);
end $$;
