-- What clients do with webhook endpoints and their deliveries. Every function takes the caller and checks for itself.

-- An endpoint's row; refuses when the project has none of this id.
create function tunebase.endpoint_json(p_project_id uuid, p_id uuid) returns jsonb
language plpgsql stable set search_path = ''
as $$
declare
  v_endpoint public.webhook_endpoints;
begin
  select * into v_endpoint from public.webhook_endpoints where id = p_id and project_id = p_project_id;
  if not found then
    perform tunebase.refuse('webhook_endpoint_not_found');
  end if;
  return to_jsonb(v_endpoint);
end $$;

-- p_endpoint: {name, url, event_types, progress_seconds}. The SDKs send a create again when its answer was lost, and
-- say so: an equal endpoint of the last ten minutes answers it.
create function tunebase.create_webhook_endpoint(p_caller jsonb, p_endpoint jsonb, p_is_retry boolean) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase.authorize(p_caller, 'webhooks:write');
  v_types text[] := array(select jsonb_array_elements_text(p_endpoint -> 'event_types'));
  v_id uuid;
begin
  -- One create of a project at a time: the limit is counted, and equal retries find each other.
  perform pg_advisory_xact_lock(hashtextextended('tunebase endpoints ' || v_project_id, 0));
  if p_is_retry then
    select id into v_id from public.webhook_endpoints
    where project_id = v_project_id and name = p_endpoint ->> 'name' and url = p_endpoint ->> 'url'
      and event_types = v_types and created_at > now() - interval '10 minutes'
    order by id desc limit 1;
    if found then
      return tunebase.endpoint_json(v_project_id, v_id);
    end if;
  end if;
  if (select count(*) from public.webhook_endpoints where project_id = v_project_id) >= 50 then
    perform tunebase.refuse('limit_reached', jsonb_build_object('most', 50, 'what', 'webhook endpoints'));
  end if;
  insert into public.webhook_endpoints (project_id, name, url, event_types, progress_seconds)
  values (
    v_project_id, p_endpoint ->> 'name', p_endpoint ->> 'url', v_types,
    coalesce((p_endpoint ->> 'progress_seconds')::integer, 60)
  )
  returning id into v_id;
  return tunebase.endpoint_json(v_project_id, v_id);
end $$;

create function tunebase.get_webhook_endpoint(p_caller jsonb, p_id uuid, p_scope text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
begin
  return tunebase.endpoint_json(tunebase.authorize(p_caller, p_scope), p_id);
end $$;

create function tunebase.list_webhook_endpoints(p_caller jsonb, p_after uuid, p_limit integer) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase.authorize(p_caller, 'webhooks:read');
  v_rows jsonb;
begin
  if p_after is not null
    and not exists (select from public.webhook_endpoints where id = p_after and project_id = v_project_id) then
    perform tunebase.refuse('cursor_not_found');
  end if;
  select jsonb_agg(to_jsonb(e) order by e.id desc) into v_rows from (
    select * from public.webhook_endpoints
    where project_id = v_project_id and (p_after is null or id < p_after)
    order by id desc limit p_limit + 1
  ) e;
  return tunebase.page(v_rows, p_limit);
end $$;

-- p_changes: any of {name, url, event_types, progress_seconds, enabled}; what is absent stays. An update that changes
-- nothing does not move updated_at. Enabling begins with a clean record.
create function tunebase.update_webhook_endpoint(p_caller jsonb, p_id uuid, p_changes jsonb) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase.authorize(p_caller, 'webhooks:write');
begin
  perform tunebase.endpoint_json(v_project_id, p_id);
  update public.webhook_endpoints e
  set name = x.name, url = x.url, event_types = x.event_types, progress_seconds = x.progress_seconds, updated_at = now()
  from (
    select
      coalesce(p_changes ->> 'name', o.name) as name,
      coalesce(p_changes ->> 'url', o.url) as url,
      case when p_changes -> 'event_types' is null then o.event_types
        else array(select jsonb_array_elements_text(p_changes -> 'event_types')) end as event_types,
      coalesce((p_changes ->> 'progress_seconds')::integer, o.progress_seconds) as progress_seconds
    from public.webhook_endpoints o where o.id = p_id
  ) x
  where e.id = p_id
    and (e.name, e.url, e.event_types, e.progress_seconds)
      is distinct from (x.name, x.url, x.event_types, x.progress_seconds);
  if (p_changes ->> 'enabled')::boolean then
    update public.webhook_endpoints
    set enabled = true, disabled_at = null, disabled_reason = null, updated_at = now()
    where id = p_id and not enabled;
  elsif not (p_changes ->> 'enabled')::boolean then
    perform tunebase.disable_target(p_id, 'a member switched it off', false);
  end if;
  return tunebase.endpoint_json(v_project_id, p_id);
end $$;

create function tunebase.delete_webhook_endpoint(p_caller jsonb, p_id uuid) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase.authorize(p_caller, 'webhooks:write');
begin
  perform tunebase.endpoint_json(v_project_id, p_id);
  perform tunebase.lock_target(p_id);
  delete from public.webhook_endpoints where id = p_id;
  delete from tunebase.failing_targets where target_id = p_id;
end $$;

-- The next version signs from now on; the one before too for 24 hours, if that is asked for. A rotation that the SDK
-- sends again answers with what the first made: another one would end the secret that the receiver still uses.
create function tunebase.rotate_webhook_secret(p_caller jsonb, p_id uuid, p_keep_old boolean, p_is_retry boolean)
returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase.authorize(p_caller, 'webhooks:write');
begin
  perform tunebase.endpoint_json(v_project_id, p_id);
  update public.webhook_endpoints
  set secret_version = secret_version + 1, rotated_at = now(), updated_at = now(),
    old_secret_until = case when p_keep_old then now() + interval '24 hours' end
  where id = p_id and not (p_is_retry and coalesce(rotated_at > now() - interval '10 minutes', false));
  return tunebase.endpoint_json(v_project_id, p_id);
end $$;

-- p_filter: any of {target_id (an endpoint or channel), status, event_type, job_id}.
create function tunebase.list_webhook_deliveries(p_caller jsonb, p_after uuid, p_limit integer, p_filter jsonb)
returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase.authorize(p_caller, 'webhooks:read');
  v_rows jsonb;
begin
  if p_after is not null
    and not exists (select from public.webhook_deliveries where id = p_after and project_id = v_project_id) then
    perform tunebase.refuse('cursor_not_found');
  end if;
  select jsonb_agg(to_jsonb(d) order by d.id desc) into v_rows from (
    select * from public.webhook_deliveries
    where project_id = v_project_id and (p_after is null or id < p_after)
      and (p_filter -> 'target_id' is null or target_id = (p_filter ->> 'target_id')::uuid)
      and (p_filter -> 'status' is null or status = p_filter ->> 'status')
      and (p_filter -> 'event_type' is null or event_type = p_filter ->> 'event_type')
      and (p_filter -> 'job_id' is null or job_id = (p_filter ->> 'job_id')::uuid)
    order by id desc limit p_limit + 1
  ) d;
  return tunebase.page(v_rows, p_limit);
end $$;

create function tunebase.delivery_json(p_project_id uuid, p_id uuid) returns jsonb
language plpgsql stable set search_path = ''
as $$
declare
  v_delivery public.webhook_deliveries;
begin
  select * into v_delivery from public.webhook_deliveries where id = p_id and project_id = p_project_id;
  if not found then
    perform tunebase.refuse('webhook_delivery_not_found');
  end if;
  return to_jsonb(v_delivery) || jsonb_build_object('attempts', coalesce((
    select jsonb_agg(to_jsonb(a) order by a.id)
    -- A receiver that is replayed for ever would make this answer grow for ever.
    from (select * from public.webhook_attempts where delivery_id = p_id order by id desc limit 50) a
  ), '[]'));
end $$;

-- With its log: each try's request and answer, the last fifty.
create function tunebase.get_webhook_delivery(p_caller jsonb, p_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
begin
  return tunebase.delivery_json(tunebase.authorize(p_caller, 'webhooks:read'), p_id);
end $$;

create function tunebase.refuse_disabled(p_target_id uuid) returns void
language plpgsql stable set search_path = ''
as $$
begin
  if exists (select from public.webhook_endpoints where id = p_target_id and not enabled)
    or exists (select from public.notification_channels where id = p_target_id and not enabled) then
    perform tunebase.refuse('receiver_disabled');
  end if;
end $$;

-- Sends one again, whatever became of it, with the same `webhook-id` and a schedule of its own. What a scheduler has
-- in hand is on its way already.
create function tunebase.replay_webhook_delivery(p_caller jsonb, p_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase.authorize(p_caller, 'webhooks:write');
  v_delivery jsonb := tunebase.delivery_json(v_project_id, p_id);
begin
  perform tunebase.refuse_disabled((v_delivery ->> 'target_id')::uuid);
  update public.webhook_deliveries
  set status = 'pending', tries = 0, next_at = now(), reason = null, delivered_at = null, leased_until = null
  where id = p_id and not coalesce(leased_until > now(), false);
  return tunebase.delivery_json(v_project_id, p_id);
end $$;

-- Sends everything again that has died at an endpoint since then; returns how many.
create function tunebase.replay_webhook_endpoint(p_caller jsonb, p_id uuid, p_since timestamptz) returns integer
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase.authorize(p_caller, 'webhooks:write');
  v_count integer;
begin
  perform tunebase.endpoint_json(v_project_id, p_id);
  perform tunebase.refuse_disabled(p_id);
  perform tunebase.lock_target(p_id);
  update public.webhook_deliveries
  set status = 'pending', tries = 0, next_at = now(), reason = null
  where endpoint_id = p_id and status = 'dead' and event_created_at >= p_since;
  get diagnostics v_count = row_count;
  return v_count;
end $$;
