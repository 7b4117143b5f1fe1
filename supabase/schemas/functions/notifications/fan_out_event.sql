-- Delivers one outbox event to every endpoint, channel and member that subscribed. Idempotent.
create function tunebase_internal.fan_out_event(p_event tunebase_internal.outbox) returns void
language plpgsql set search_path = ''
as $$
declare
  v_notification jsonb := tunebase_internal.render_notification(p_event.type, p_event.data);
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

  if v_notification is not null then
    insert into tunebase.notifications (project_id, event_id, type, level, title, text, job_id, created_at)
    values (
      p_event.project_id, p_event.id, p_event.type, v_notification ->> 'level', v_notification ->> 'title', v_notification ->> 'text',
      p_event.job_id, p_event.created_at
    )
    on conflict (event_id) do nothing;
    -- Emails above their address's hourly limit are not sent, but are in the notifications and the delivery log.
    insert into tunebase.webhook_deliveries (
      project_id, event_id, event_type, event_created_at, job_id, channel, channel_id, body, status, next_at, reason
    )
    select p_event.project_id, p_event.id, p_event.type, p_event.created_at, p_event.job_id, c.kind, c.id,
      (v_notification || jsonb_build_object('id', v_id, 'type', p_event.type, 'job_id', p_event.job_id))::text,
      case when c.counted then 'pending' else 'dead' end, case when c.counted then now() end,
      case when not c.counted then 'This address has reached its limit of 60 emails per hour.' end
    from (
      select id, kind, kind <> 'email' or tunebase_internal.count_email(target, false) as counted
      from tunebase.notification_channels
      where project_id = p_event.project_id and enabled and p_event.type = any (event_types)
        and created_at <= p_event.created_at
        and (kind <> 'email' or tunebase_internal.is_member_email(project_id, target))
        -- Counted once, even if the event is fanned out again.
        and not exists (
          select from tunebase.webhook_deliveries d where d.event_id = p_event.id and d.channel_id = notification_channels.id
        )
      order by id
      offset 0
    ) c
    on conflict (event_id, channel_id) do nothing;
  end if;
end $$;
