-- Takes up to p_want requests out of a caller's bucket, which holds a minute's worth and fills as time goes. The API asks
-- for several at once and spends them one by one. Returns {granted, left, limit, project_id}; refuses who is not known.
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
  -- The clock and not now(): a transaction that waited for the row began before the other's.
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
