-- Counts a finished tick of p_seconds.
create function tunebase_internal.record_tick(p_seconds double precision) returns void
language sql security definer set search_path = ''
as $$
  insert into tunebase_internal.scheduler_ticks as t (ticks, seconds, last_tick_at) values (1, p_seconds, now())
  on conflict (one_row) do update
  set ticks = t.ticks + 1, seconds = t.seconds + excluded.seconds, last_tick_at = greatest(t.last_tick_at, excluded.last_tick_at)
$$;
