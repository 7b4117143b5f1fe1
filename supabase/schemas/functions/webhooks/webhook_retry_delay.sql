-- The delay before the next attempt, after p_tries attempts; null after the last. The Standard Webhooks schedule (at once, 5 s,
-- 5 min, 30 min, 2 h, 5 h, 10 h, 14 h, 20 h, 24 h) with up to 20 % jitter, so that deliveries that failed together are not
-- all retried together.
create function tunebase_internal.webhook_retry_delay(p_tries integer) returns interval
language sql volatile set search_path = ''
as $$
  select (array[
    interval '5 seconds', interval '5 minutes', interval '30 minutes', interval '2 hours', interval '5 hours',
    interval '10 hours', interval '14 hours', interval '20 hours', interval '24 hours'
  ])[p_tries] * (1 + random() / 5)
$$;
