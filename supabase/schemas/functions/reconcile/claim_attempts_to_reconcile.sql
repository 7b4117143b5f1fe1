-- The attempts to check with RunPod now. Each is postponed, so that two schedulers do not check one at once.
create function tunebase_internal.claim_attempts_to_reconcile(p_limit integer) returns jsonb
language sql security definer set search_path = ''
as $$
  with due as (
    select id from tunebase.attempts
    where state <> 'ended' and reconcile_at <= now()
    order by reconcile_at limit p_limit
    for no key update skip locked
  ), claimed as (
    update tunebase.attempts a set reconcile_at = now() + interval '30 seconds'
    from due where a.id = due.id
    returning a.*
  )
  select coalesce(jsonb_agg(jsonb_build_object(
    'id', c.id, 'endpoint_id', c.endpoint_id, 'runpod_job_id', c.runpod_job_id,
    'prefix', tunebase_internal.artifact_prefix(c.id), 'fence', c.fence,
    'waiting_seconds', case when c.state <> 'running' then extract(epoch from now() - c.created_at) end,
    'cancel', c.cancel_requested and (c.cancel_sent_at is null or c.cancel_sent_at < now() - interval '30 seconds')
  )), '[]')
  from claimed c
$$;
