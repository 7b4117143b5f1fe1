-- What people do with their notifications and the channels that carry them.

-- Whose read marks a caller has: a user's own; an API key's are those of the user who made it.
create function tunebase.caller_user(p_caller jsonb) returns uuid
language sql stable set search_path = ''
as $$
  select coalesce(
    (p_caller ->> 'user_id')::uuid,
    (
      select k.created_by
      from tunebase.api_key_hashes h join public.api_keys k on k.id = h.api_key_id
      where h.hash = decode(p_caller ->> 'key_hash', 'hex')
    )
  )
$$;

-- Newest first, each with read_at of the caller; and how many of the project's the caller has not read.
create function tunebase.list_notifications(p_caller jsonb, p_after uuid, p_limit integer, p_unread boolean)
returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase.authorize(p_caller, 'jobs:read');
  v_user_id uuid := tunebase.caller_user(p_caller);
  v_rows jsonb;
begin
  if p_after is not null
    and not exists (select from public.notifications where id = p_after and project_id = v_project_id) then
    perform tunebase.refuse('cursor_not_found');
  end if;
  select jsonb_agg(to_jsonb(n) order by n.id desc) into v_rows from (
    select x.*, r.read_at
    from public.notifications x
    left join public.notification_reads r on r.notification_id = x.id and r.user_id = v_user_id
    where x.project_id = v_project_id and (p_after is null or x.id < p_after)
      and (not p_unread or r.read_at is null)
    order by x.id desc limit p_limit + 1
  ) n;
  return tunebase.page(v_rows, p_limit)
    || jsonb_build_object('unread', tunebase.count_unread(v_project_id, v_user_id));
end $$;

create function tunebase.count_unread(p_project_id uuid, p_user_id uuid) returns bigint
language sql stable set search_path = ''
as $$
  select count(*) from public.notifications n
  where n.project_id = p_project_id and not exists (
    select from public.notification_reads r where r.notification_id = n.id and r.user_id = p_user_id
  )
$$;

-- Marks one as read, or all (p_id null), for the caller alone; returns how many are left. Safe to call twice. Reading
-- is enough of a right: the mark is the caller's own.
create function tunebase.read_notifications(p_caller jsonb, p_id uuid) returns bigint
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase.authorize(p_caller, 'jobs:read');
  v_user_id uuid := tunebase.caller_user(p_caller);
begin
  if v_user_id is null then
    perform tunebase.refuse('user_required');
  end if;
  if p_id is not null and not exists (
    select from public.notifications where id = p_id and project_id = v_project_id
  ) then
    perform tunebase.refuse('notification_not_found');
  end if;
  insert into public.notification_reads (notification_id, user_id)
  select id, v_user_id from public.notifications
  where project_id = v_project_id and (p_id is null or id = p_id)
  on conflict do nothing;
  return tunebase.count_unread(v_project_id, v_user_id);
end $$;

create function tunebase.channel_json(p_project_id uuid, p_id uuid) returns jsonb
language plpgsql stable set search_path = ''
as $$
declare
  v_channel public.notification_channels;
begin
  select * into v_channel from public.notification_channels where id = p_id and project_id = p_project_id;
  if not found then
    perform tunebase.refuse('notification_channel_not_found');
  end if;
  return to_jsonb(v_channel);
end $$;

-- p_channel: {id, kind, target, event_types, sealed}; the caller picks the id, because `sealed` is bound to it. A create
-- that is sent again, because its answer was lost, makes no second channel: it would tell everything twice.
create function tunebase.create_notification_channel(p_caller jsonb, p_channel jsonb, p_is_retry boolean) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase.authorize(p_caller, 'webhooks:write');
  v_id uuid := (p_channel ->> 'id')::uuid;
  v_made uuid;
begin
  perform pg_advisory_xact_lock(hashtextextended('tunebase channels ' || v_project_id, 0));
  if p_is_retry then
    select id into v_made from public.notification_channels
    where project_id = v_project_id and kind = p_channel ->> 'kind' and target = p_channel ->> 'target'
      and created_at > now() - interval '10 minutes'
    order by id desc limit 1;
    if found then
      return tunebase.channel_json(v_project_id, v_made);
    end if;
  end if;
  if (select count(*) from public.notification_channels where project_id = v_project_id) >= 20 then
    perform tunebase.refuse('limit_reached', jsonb_build_object('most', 20, 'what', 'notification channels'));
  end if;
  insert into public.notification_channels (id, project_id, kind, target, event_types)
  values (
    v_id, v_project_id, p_channel ->> 'kind', p_channel ->> 'target',
    array(select jsonb_array_elements_text(p_channel -> 'event_types'))
  );
  if p_channel ->> 'sealed' is not null then
    insert into tunebase.channel_secrets (channel_id, sealed) values (v_id, p_channel ->> 'sealed');
  end if;
  return tunebase.channel_json(v_project_id, v_id);
end $$;

create function tunebase.list_notification_channels(p_caller jsonb, p_after uuid, p_limit integer) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase.authorize(p_caller, 'webhooks:read');
  v_rows jsonb;
begin
  if p_after is not null
    and not exists (select from public.notification_channels where id = p_after and project_id = v_project_id) then
    perform tunebase.refuse('cursor_not_found');
  end if;
  select jsonb_agg(to_jsonb(c) order by c.id desc) into v_rows from (
    select * from public.notification_channels
    where project_id = v_project_id and (p_after is null or id < p_after)
    order by id desc limit p_limit + 1
  ) c;
  return tunebase.page(v_rows, p_limit);
end $$;

-- p_changes: any of {event_types, enabled}. Another address is another channel.
create function tunebase.update_notification_channel(p_caller jsonb, p_id uuid, p_changes jsonb) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase.authorize(p_caller, 'webhooks:write');
begin
  perform tunebase.channel_json(v_project_id, p_id);
  if p_changes -> 'event_types' is not null then
    update public.notification_channels
    set event_types = array(select jsonb_array_elements_text(p_changes -> 'event_types')), updated_at = now()
    where id = p_id;
  end if;
  if (p_changes ->> 'enabled')::boolean then
    update public.notification_channels
    set enabled = true, disabled_at = null, disabled_reason = null, updated_at = now()
    where id = p_id and not enabled;
  elsif not (p_changes ->> 'enabled')::boolean then
    perform tunebase.disable_target(p_id, 'a member switched it off', false);
  end if;
  return tunebase.channel_json(v_project_id, p_id);
end $$;

create function tunebase.delete_notification_channel(p_caller jsonb, p_id uuid) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase.authorize(p_caller, 'webhooks:write');
begin
  perform tunebase.channel_json(v_project_id, p_id);
  perform tunebase.lock_target(p_id);
  delete from public.notification_channels where id = p_id;
  delete from tunebase.failing_targets where target_id = p_id;
end $$;

-- What a test message is sent to: {kind, target, sealed}.
create function tunebase.test_notification_channel(p_caller jsonb, p_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
begin
  return tunebase.channel_json(tunebase.authorize(p_caller, 'webhooks:write'), p_id) || jsonb_build_object(
    'sealed', (select sealed from tunebase.channel_secrets where channel_id = p_id)
  );
end $$;
