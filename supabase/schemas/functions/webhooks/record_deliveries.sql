-- Records the results of attempts. p_results: [{id, lease, ok, status, body, error, retry_after (seconds), url, headers,
-- duration_ms}]. Every attempt is logged; the delivery changes only if the attempt succeeded or still holds the lease.
create function tunebase_internal.record_deliveries(p_results jsonb) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  r record;
  v_delivery tunebase.webhook_deliveries;
  v_delay interval;
  v_last text;
  v_gone uuid[] := '{}';
  v_since timestamptz;
  v_failed uuid[] := '{}';
  v_target uuid;
begin
  perform tunebase_internal.lock_subscriber(t.target_id) from (
    select distinct d.target_id from tunebase.webhook_deliveries d
    where d.id in (select (x ->> 'id')::uuid from jsonb_array_elements(p_results) x)
    order by d.target_id
  ) t;
  for r in
    select x.* from jsonb_to_recordset(p_results) as x (
      id uuid, lease integer, ok boolean, status integer, body text, error text, retry_after double precision,
      url text, headers jsonb, duration_ms integer
    ) order by x.id
  loop
    select * into v_delivery from tunebase.webhook_deliveries where id = r.id for update;
    continue when not found; -- its endpoint has been deleted
    insert into tunebase.webhook_attempts (
      delivery_id, project_id, url, request_headers, response_status, response_body, error, duration_ms
    ) values (
      v_delivery.id, v_delivery.project_id, r.url, r.headers, r.status, r.body, r.error, r.duration_ms
    );
    if v_delivery.status = 'delivered' or (not r.ok and v_delivery.lease <> r.lease) then
      continue;
    end if;
    v_last := coalesce('it responded with ' || r.status, r.error);
    v_delay := tunebase_internal.webhook_retry_delay(v_delivery.tries);
    update tunebase.webhook_deliveries
    set response_status = r.status, error = r.error, duration_ms = r.duration_ms, last_tried_at = now(),
      leased_until = null,
      status = case when r.ok then 'delivered' when v_delay is null or status = 'dead' then 'dead' else 'pending' end,
      delivered_at = case when r.ok then now() end,
      reason = case
        when r.ok then null
        when status = 'dead' then reason
        when v_delay is null then format('All %s attempts failed. The last one: %s.', tries, v_last)
      end,
      next_at = case
        when not r.ok and status = 'pending' and v_delay is not null
        then now() + greatest(v_delay, make_interval(secs => least(coalesce(r.retry_after, 0), 86400)))
      end
    where id = r.id;

    if r.ok then
      delete from tunebase_internal.failing_subscribers where target_id = v_delivery.target_id;
    elsif v_delivery.status = 'pending' then
      v_failed := v_failed || v_delivery.target_id;
      if r.status = 410 then
        v_gone := v_gone || v_delivery.target_id;
      end if;
    end if;
  end loop;

  foreach v_target in array array(select distinct unnest(v_failed) order by 1) loop
    if v_target = any (v_gone) then
      perform tunebase_internal.disable_subscriber(v_target, 'it responded with 410 Gone');
      continue;
    end if;
    insert into tunebase_internal.failing_subscribers as f (target_id, failing_since, last_failed_at)
    values (v_target, now(), now())
    on conflict (target_id) do update
    -- After two days without an attempt, longer than the longest delay of the schedule, a failure starts a new series.
    set failing_since = case when f.last_failed_at < now() - interval '2 days' then now() else f.failing_since end,
      last_failed_at = now()
    returning failing_since into v_since;
    if v_since <= now() - interval '5 days' then
      perform tunebase_internal.disable_subscriber(v_target, 'it has failed for 5 days');
    end if;
  end loop;
end $$;
