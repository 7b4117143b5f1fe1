-- 5 s, 10 s, 20 s … up to 5 minutes.
create function tunebase_internal.backoff_seconds(p_failures integer) returns double precision
language sql immutable
return least(300, 5 * power(2::double precision, p_failures));
