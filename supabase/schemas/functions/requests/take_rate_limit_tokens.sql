-- Takes up to p_want tokens from a caller's bucket, which holds one minute's requests and refills continuously. The API takes
-- several at once and uses them one by one. Returns {granted, left, limit, project_id}. Raises an error for unknown callers.
create function tunebase_internal.take_rate_limit_tokens(p_caller jsonb, p_want integer) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_who record;
  v_limit double precision;
  v_granted double precision;
  v_left double precision;
begin
  v_who := tunebase_internal.identify(p_caller);
  select requests_per_minute into v_limit from tunebase.projects where id = v_who.project_id;
  v_limit := coalesce(v_limit, 600);
  insert into tunebase_internal.rate_buckets as b (subject, tokens, counted_at)
  values (coalesce((v_who.api_key).id, (p_caller ->> 'user_id')::uuid), v_limit, now())
  on conflict (subject) do update
  -- clock_timestamp() instead of now(): a transaction that waited for the row started before the other one's update.
  set tokens = least(
      v_limit, b.tokens + greatest(0, extract(epoch from clock_timestamp() - b.counted_at)) * v_limit / 60
    ), counted_at = greatest(b.counted_at, clock_timestamp())
  returning tokens into v_left;
  v_granted := least(p_want, floor(v_left));
  if v_granted > 0 then
    update tunebase_internal.rate_buckets set tokens = tokens - v_granted
    where subject = coalesce((v_who.api_key).id, (p_caller ->> 'user_id')::uuid);
  end if;
  return jsonb_build_object(
    'granted', v_granted, 'left', v_left - v_granted, 'limit', v_limit, 'project_id', v_who.project_id
  );
end $$;
