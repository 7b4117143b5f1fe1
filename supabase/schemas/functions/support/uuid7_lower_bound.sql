-- The lowest id that a row made at this time can have (see uuid7): a range of days is a range of the primary key's order,
-- and needs no index of its own.
create function tunebase_internal.uuid7_lower_bound(p_time timestamptz) returns uuid
language sql immutable set search_path = ''
as $$
  select rpad(lpad(to_hex(floor(extract(epoch from p_time) * 1000)::bigint), 12, '0'), 32, '0')::uuid
$$;
