-- Delivers one outbox event to every endpoint, channel and member that subscribed. Idempotent.
create function tunebase_internal.fan_out_event(p_event tunebase_internal.outbox) returns void
language plpgsql set search_path = ''
as $$
declare
  v_said jsonb := tunebase_internal.render_notification(p_event.type, p_event.data);
  v_id text := 'evt_' || replace(p_event.id::text, '-', '');
begin
  insert into tunebase.webhook_deliveries (
    project_id, event_id, event_type, event_created_at, job_id, channel, endpoint_id, body
  )
  select p_event.project_id, p_event.id, p_event.type, p_event.created_at, p_event.job_id, 'webhook', e.id,
    json_build_object(
      'id', v_id, 'object', 'event', 'type', p_event.type,
      'created_at', floor(extract(epoch from p_event.created_at))::bigint, 'data', p_event.data
    )::text
  from tunebase.webhook_endpoints e
  where e.project_id = p_event.project_id and e.enabled and p_event.type = any (e.event_types)
    -- Endpoints get no events from before their creation.
    and e.created_at <= p_event.created_at
    and (p_event.type <> 'fine_tuning.job.progress' or not exists (
      select from tunebase.webhook_deliveries d
      where d.job_id = p_event.job_id and d.endpoint_id = e.id and d.event_type = p_event.type
        and d.event_created_at > p_event.created_at - make_interval(secs => e.progress_seconds)
    ))
  on conflict (event_id, endpoint_id) do nothing;

  if v_said is not null then
    insert into tunebase.notifications (project_id, event_id, type, level, title, text, job_id, created_at)
    values (
      p_event.project_id, p_event.id, p_event.type, v_said ->> 'level', v_said ->> 'title', v_said ->> 'text',
      p_event.job_id, p_event.created_at
    )
    on conflict (event_id) do nothing;
    insert into tunebase.webhook_deliveries (
      project_id, event_id, event_type, event_created_at, job_id, channel, channel_id, body
    )
    select p_event.project_id, p_event.id, p_event.type, p_event.created_at, p_event.job_id, c.kind, c.id,
      (v_said || jsonb_build_object('id', v_id, 'type', p_event.type, 'job_id', p_event.job_id))::text
    from tunebase.notification_channels c
    where c.project_id = p_event.project_id and c.enabled and p_event.type = any (c.event_types)
      and c.created_at <= p_event.created_at
    on conflict (event_id, channel_id) do nothing;
  end if;
end $$;
