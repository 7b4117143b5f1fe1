-- Deletes requests older than a day, at most p_limit of them. Returns how many.
create function tunebase_internal.prune_idempotency_keys(p_limit integer) returns integer
language plpgsql security definer set search_path = ''
as $$
declare
  v_pruned integer;
begin
  delete from tunebase_internal.idempotency_keys where id in (
    select id from tunebase_internal.idempotency_keys where created_at < now() - interval '1 day'
    order by created_at limit p_limit for update skip locked
  );
  get diagnostics v_pruned = row_count;
  return v_pruned;
end $$;
