-- Leases up to p_limit due deliveries, the oldest of each receiver first. A receiver gets at most p_per_target at once,
-- minus those in flight to it (p_busy: {target: count}), and at most 4 while it is failing, so that a slow receiver cannot
-- use every slot.
-- The attempt is counted here, so that a delivery that crashes its scheduler is not retried forever.
create function tunebase_internal.claim_deliveries(
  p_limit integer, p_per_target integer, p_busy jsonb, p_lease_seconds integer
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_claimed jsonb;
begin
  update tunebase.webhook_deliveries
  set status = 'dead', next_at = null, leased_until = null,
    reason = 'The result of its last attempt was never recorded.'
  where id in (
    select id from tunebase.webhook_deliveries
    where status = 'pending' and tries >= 10 and next_at <= now()
    limit p_limit for update skip locked
  );

  -- The receivers with pending deliveries, by a loose index scan.
  with recursive targets as (
    (select target_id from tunebase.webhook_deliveries where status = 'pending' order by target_id limit 1)
    union all
    select (
      select d.target_id from tunebase.webhook_deliveries d
      where d.status = 'pending' and d.target_id > t.target_id
      order by d.target_id limit 1
    )
    from targets t where t.target_id is not null
  ), room as (
    select t.target_id, greatest(
      0, (case when f.target_id is null then p_per_target else least(4, p_per_target) end)
        - coalesce((p_busy ->> t.target_id::text)::integer, 0)
    ) as places
    from targets t left join tunebase_internal.failing_subscribers f on f.target_id = t.target_id
    where t.target_id is not null
  ), due as (
    select d.id, d.next_at, row_number() over (partition by r.target_id order by d.next_at) as rank
    from room r cross join lateral (
      select id, next_at from tunebase.webhook_deliveries
      where status = 'pending' and target_id = r.target_id and next_at <= now()
      order by next_at limit r.places
      for update skip locked
    ) d
  ), claimed as (
    update tunebase.webhook_deliveries d
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
    'target', n.target, 'encrypted_url', s.encrypted_url
  ))
  into v_claimed
  from claimed c
  left join tunebase.webhook_endpoints e on e.id = c.endpoint_id
  left join tunebase.notification_channels n on n.id = c.channel_id
  left join tunebase_internal.channel_secrets s on s.channel_id = c.channel_id;
  return coalesce(v_claimed, '[]');
end $$;
