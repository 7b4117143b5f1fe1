-- Deliveries: leased, sent by the scheduler, recorded. At least once: whoever dies in between leaves a lease that ends.

-- How long after the try with this number the next one comes; null: that was the last. The schedule is that of the
-- Standard Webhooks: at once, 5 s, 5 min, 30 min, 2 h, 5 h, 10 h, 14 h, 20 h, 24 h, up to a fifth later each, so that
-- what failed together does not come back together.
create function tunebase.retry_delay(p_tries integer) returns interval
language sql volatile set search_path = ''
as $$
  select (array[
    interval '5 seconds', interval '5 minutes', interval '30 minutes', interval '2 hours', interval '5 hours',
    interval '10 hours', interval '14 hours', interval '20 hours', interval '24 hours'
  ])[p_tries] * (1 + random() / 5)
$$;

-- Leases up to p_limit deliveries that are due. One receiver gets p_per_target at once, less what is in flight to it
-- already (p_busy: {target: count}), and 4 while it fails: a slow one does not take every place. Each target's oldest
-- come first. A try is counted here, so that one that kills its scheduler ends too.
create function tunebase.claim_deliveries(
  p_limit integer, p_per_target integer, p_busy jsonb, p_lease_seconds integer
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_claimed jsonb;
begin
  update public.webhook_deliveries
  set status = 'dead', next_at = null, leased_until = null,
    reason = 'The result of its last try was never recorded.'
  where id in (
    select id from public.webhook_deliveries
    where status = 'pending' and tries >= 10 and next_at <= now()
    limit p_limit for update skip locked
  );

  -- The targets with something pending, found by jumping through the index from one to the next.
  with recursive targets as (
    (select target_id from public.webhook_deliveries where status = 'pending' order by target_id limit 1)
    union all
    select (
      select d.target_id from public.webhook_deliveries d
      where d.status = 'pending' and d.target_id > t.target_id
      order by d.target_id limit 1
    )
    from targets t where t.target_id is not null
  ), room as (
    select t.target_id, greatest(
      0, (case when f.target_id is null then p_per_target else least(4, p_per_target) end)
        - coalesce((p_busy ->> t.target_id::text)::integer, 0)
    ) as places
    from targets t left join tunebase.failing_targets f on f.target_id = t.target_id
    where t.target_id is not null
  ), due as (
    select d.id, d.next_at, row_number() over (partition by r.target_id order by d.next_at) as rank
    from room r cross join lateral (
      select id, next_at from public.webhook_deliveries
      where status = 'pending' and target_id = r.target_id and next_at <= now()
      order by next_at limit r.places
      for update skip locked
    ) d
  ), claimed as (
    update public.webhook_deliveries d
    set lease = lease + 1, tries = tries + 1,
      leased_until = now() + make_interval(secs => p_lease_seconds),
      next_at = now() + make_interval(secs => p_lease_seconds)
    from (select id from due order by rank, next_at limit p_limit) x
    where d.id = x.id
    returning d.*
  )
  select jsonb_agg(jsonb_build_object(
    'id', c.id, 'lease', c.lease, 'event_id', c.event_id, 'event_type', c.event_type, 'target_id', c.target_id,
    'channel', c.channel, 'body', c.body,
    'url', e.url, 'secret_version', e.secret_version,
    'old_secret', coalesce(e.old_secret_until > now(), false),
    'target', n.target, 'sealed', s.sealed
  ))
  into v_claimed
  from claimed c
  left join public.webhook_endpoints e on e.id = c.endpoint_id
  left join public.notification_channels n on n.id = c.channel_id
  left join tunebase.channel_secrets s on s.channel_id = c.channel_id;
  return coalesce(v_claimed, '[]');
end $$;

-- Whoever changes many deliveries of one receiver does it alone: two that lock the same rows in different orders
-- would wait for each other. Several targets are locked in the order of their ids.
create function tunebase.lock_target(p_target_id uuid) returns void
language sql set search_path = ''
as $$ select pg_advisory_xact_lock(hashtextextended('tunebase target ' || p_target_id, 0)) $$;

-- Stops sending to an endpoint or channel and tells its people; what was pending there is dead, and can be replayed.
create function tunebase.disable_target(p_target_id uuid, p_reason text, p_tell boolean default true) returns void
language plpgsql set search_path = ''
as $$
declare
  v_project_id uuid;
  v_name text;
  v_id text;
begin
  perform tunebase.lock_target(p_target_id);
  update public.webhook_deliveries
  set status = 'dead', next_at = null, leased_until = null, reason = 'Its receiver was disabled: ' || p_reason
  where status = 'pending' and target_id = p_target_id;
  delete from tunebase.failing_targets where target_id = p_target_id;

  update public.webhook_endpoints
  set enabled = false, disabled_at = now(), disabled_reason = p_reason, updated_at = now()
  where id = p_target_id and enabled
  returning project_id, format('Webhook endpoint “%s”', name), 'whe_' || replace(id::text, '-', '')
  into v_project_id, v_name, v_id;
  if v_id is null then
    update public.notification_channels
    set enabled = false, disabled_at = now(), disabled_reason = p_reason, updated_at = now()
    where id = p_target_id and enabled
    returning project_id, format('Notifications by %s to %s', kind, target), 'nch_' || replace(id::text, '-', '')
    into v_project_id, v_name, v_id;
  end if;
  if v_id is not null and p_tell then
    insert into tunebase.outbox (project_id, type, data)
    values (v_project_id, 'webhook_endpoint.disabled', jsonb_build_object(
      'id', v_id, 'name', v_name, 'reason', p_reason
    ));
  end if;
end $$;

-- Records what became of tries. p_results: [{id, lease, ok, status, body, error, retry_after, url, headers,
-- duration_ms}]; retry_after in seconds. The log gets every try; the delivery moves if the try holds its lease still,
-- or was a success.
create function tunebase.record_deliveries(p_results jsonb) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  r record;
  v_delivery public.webhook_deliveries;
  v_delay interval;
  v_last text;
  v_gone uuid[] := '{}';
  v_since timestamptz;
  v_failed uuid[] := '{}';
  v_target uuid;
begin
  perform tunebase.lock_target(t.target_id) from (
    select distinct d.target_id from public.webhook_deliveries d
    where d.id in (select (x ->> 'id')::uuid from jsonb_array_elements(p_results) x)
    order by d.target_id
  ) t;
  for r in
    select x.* from jsonb_to_recordset(p_results) as x (
      id uuid, lease integer, ok boolean, status integer, body text, error text, retry_after double precision,
      url text, headers jsonb, duration_ms integer
    ) order by x.id
  loop
    select * into v_delivery from public.webhook_deliveries where id = r.id for update;
    continue when not found; -- its endpoint was deleted meanwhile
    insert into public.webhook_attempts (
      delivery_id, project_id, url, request_headers, response_status, response_body, error, duration_ms
    ) values (
      v_delivery.id, v_delivery.project_id, r.url, r.headers, r.status, r.body, r.error, r.duration_ms
    );
    if v_delivery.status = 'delivered' or (not r.ok and v_delivery.lease <> r.lease) then
      continue;
    end if;
    v_last := coalesce('it answered ' || r.status, r.error);
    v_delay := tunebase.retry_delay(v_delivery.tries);
    update public.webhook_deliveries
    set response_status = r.status, error = r.error, duration_ms = r.duration_ms, last_tried_at = now(),
      leased_until = null,
      status = case when r.ok then 'delivered' when v_delay is null or status = 'dead' then 'dead' else 'pending' end,
      delivered_at = case when r.ok then now() end,
      reason = case
        when r.ok then null
        when status = 'dead' then reason
        when v_delay is null then format('None of its %s tries succeeded; at the last, %s.', tries, v_last)
      end,
      next_at = case
        when not r.ok and status = 'pending' and v_delay is not null
        then now() + greatest(v_delay, make_interval(secs => least(coalesce(r.retry_after, 0), 86400)))
      end
    where id = r.id;

    if r.ok then
      delete from tunebase.failing_targets where target_id = v_delivery.target_id;
    elsif v_delivery.status = 'pending' then
      v_failed := v_failed || v_delivery.target_id;
      if r.status = 410 then
        v_gone := v_gone || v_delivery.target_id;
      end if;
    end if;
  end loop;

  foreach v_target in array array(select distinct unnest(v_failed) order by 1) loop
    if v_target = any (v_gone) then
      perform tunebase.disable_target(v_target, 'it answered 410 Gone');
      continue;
    end if;
    insert into tunebase.failing_targets as f (target_id, failing_since, last_failed_at)
    values (v_target, now(), now())
    on conflict (target_id) do update
    -- Two days without a try, longer than the schedule's longest pause, and a failure is a new story.
    set failing_since = case when f.last_failed_at < now() - interval '2 days' then now() else f.failing_since end,
      last_failed_at = now()
    returning failing_since into v_since;
    if v_since <= now() - interval '5 days' then
      perform tunebase.disable_target(v_target, 'nothing but failures for 5 days');
    end if;
  end loop;
end $$;

-- Deletes what nobody will ask for, in slices: the log after 30 days, events two days after they were fanned out
-- (an endpoint's pace of progress is a day at the most), notes of failures after 90 days. Returns how many rows.
create function tunebase.prune_notifications(p_limit integer) returns integer
language plpgsql security definer set search_path = ''
as $$
declare
  v_deleted integer;
  v_total integer := 0;
begin
  delete from public.webhook_deliveries where id in (
    select id from public.webhook_deliveries
    where status <> 'pending' and created_at < now() - interval '30 days'
    order by created_at limit p_limit for update skip locked
  );
  get diagnostics v_deleted = row_count;
  v_total := v_total + v_deleted;
  delete from tunebase.outbox where id in (
    select id from tunebase.outbox
    where fanned_out_at is not null and fanned_out_at < now() - interval '2 days'
    order by fanned_out_at limit p_limit for update skip locked
  );
  get diagnostics v_deleted = row_count;
  v_total := v_total + v_deleted;
  delete from tunebase.trigger_failures where id in (
    select id from tunebase.trigger_failures where created_at < now() - interval '90 days'
    order by id limit p_limit for update skip locked
  );
  return v_total;
end $$;
