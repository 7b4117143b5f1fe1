-- Deletes in batches: deliveries after 30 days, outbox events two days after fan-out (progress intervals are at most a day),
-- trigger failures after 90 days. Returns the number of rows.
create function tunebase_internal.prune_notifications(p_limit integer) returns integer
language plpgsql security definer set search_path = ''
as $$
declare
  v_deleted integer;
  v_total integer := 0;
begin
  delete from tunebase.webhook_deliveries where id in (
    select id from tunebase.webhook_deliveries
    where status <> 'pending' and created_at < now() - interval '30 days'
    order by created_at limit p_limit for update skip locked
  );
  get diagnostics v_deleted = row_count;
  v_total := v_total + v_deleted;
  delete from tunebase_internal.outbox where id in (
    select id from tunebase_internal.outbox
    where fanned_out_at is not null and fanned_out_at < now() - interval '2 days'
    order by fanned_out_at limit p_limit for update skip locked
  );
  get diagnostics v_deleted = row_count;
  v_total := v_total + v_deleted;
  delete from tunebase_internal.trigger_failures where id in (
    select id from tunebase_internal.trigger_failures where created_at < now() - interval '90 days'
    order by id limit p_limit for update skip locked
  );
  delete from tunebase_internal.email_counts where hour < now() - interval '1 day';
  return v_total;
end $$;
