-- The lowest UUIDv7 of a given time. With it, a time range is a primary key range and needs no additional index.
create function tunebase_internal.uuid7_lower_bound(p_time timestamptz) returns uuid
language sql immutable set search_path = ''
as $$
  select rpad(lpad(to_hex(floor(extract(epoch from p_time) * 1000)::bigint), 12, '0'), 32, '0')::uuid
$$;
