-- Serializes changes to many deliveries of one receiver: two transactions that lock the same rows in different orders would
-- deadlock. Lock several receivers in the order of their ids.
create function tunebase_internal.lock_subscriber(p_target_id uuid) returns void
language sql set search_path = ''
as $$ select pg_advisory_xact_lock(hashtextextended('tunebase target ' || p_target_id, 0)) $$;
