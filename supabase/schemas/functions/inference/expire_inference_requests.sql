-- Abandons requests whose process died, 15 minutes after they began, and deletes requests after 30 days and expired stored
-- completions: at most p_limit of each. Returns how many.
create function tunebase_internal.expire_inference_requests(p_limit integer) returns integer
language plpgsql security definer set search_path = ''
as $$
declare
  v_abandoned integer;
  v_deleted integer;
  v_expired integer;
begin
  update tunebase.inference_requests set status = 'abandoned', finished_at = now()
  where id in (
    select id from tunebase.inference_requests
    where status = 'open' and id < tunebase_internal.uuid7_lower_bound(now() - interval '15 minutes')
    order by id limit p_limit for update skip locked
  );
  get diagnostics v_abandoned = row_count;
  delete from tunebase.inference_requests where id in (
    select id from tunebase.inference_requests
    where id < tunebase_internal.uuid7_lower_bound(now() - interval '30 days') and status <> 'open'
    order by id limit p_limit for update skip locked
  );
  get diagnostics v_deleted = row_count;
  delete from tunebase.stored_completions where id in (
    select id from tunebase.stored_completions where expires_at <= now()
    order by expires_at limit p_limit for update skip locked
  );
  get diagnostics v_expired = row_count;
  return v_abandoned + v_deleted + v_expired;
end $$;
