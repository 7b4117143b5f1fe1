-- Who may do what with endpoints, deliveries and notifications; see 20261124000900_access.sql.

do $$
declare
  v_table text;
begin
  foreach v_table in array array[
    'webhook_endpoints', 'webhook_deliveries', 'webhook_attempts', 'notifications', 'notification_channels'
  ] loop
    execute format('alter table public.%I enable row level security', v_table);
    execute format('revoke all on public.%I from anon, authenticated', v_table);
    execute format('grant select on public.%I to authenticated', v_table);
    execute format(
      'create policy members_read on public.%I for select to authenticated
       using (project_id in (select tunebase.my_projects()))', v_table
    );
  end loop;
end $$;

-- What a person has read is their own business.
alter table public.notification_reads enable row level security;
revoke all on public.notification_reads from anon, authenticated;
grant select on public.notification_reads to authenticated;
create policy own_read on public.notification_reads for select to authenticated
using (user_id = (select (nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')::uuid));

alter table tunebase.outbox enable row level security;
alter table tunebase.trigger_failures enable row level security;
alter table tunebase.channel_secrets enable row level security;
alter table tunebase.failing_targets enable row level security;

revoke all on all tables in schema tunebase from public;
revoke execute on all functions in schema tunebase from public;

grant execute on function
  tunebase.create_webhook_endpoint(jsonb, jsonb, boolean),
  tunebase.get_webhook_endpoint(jsonb, uuid, text),
  tunebase.list_webhook_endpoints(jsonb, uuid, integer),
  tunebase.update_webhook_endpoint(jsonb, uuid, jsonb),
  tunebase.delete_webhook_endpoint(jsonb, uuid),
  tunebase.rotate_webhook_secret(jsonb, uuid, boolean, boolean),
  tunebase.list_webhook_deliveries(jsonb, uuid, integer, jsonb),
  tunebase.get_webhook_delivery(jsonb, uuid),
  tunebase.replay_webhook_delivery(jsonb, uuid),
  tunebase.replay_webhook_endpoint(jsonb, uuid, timestamptz),
  tunebase.list_notifications(jsonb, uuid, integer, boolean),
  tunebase.read_notifications(jsonb, uuid),
  tunebase.create_notification_channel(jsonb, jsonb, boolean),
  tunebase.list_notification_channels(jsonb, uuid, integer),
  tunebase.update_notification_channel(jsonb, uuid, jsonb),
  tunebase.delete_notification_channel(jsonb, uuid),
  tunebase.test_notification_channel(jsonb, uuid)
to tunebase_api;

grant execute on function
  tunebase.fan_out(integer),
  tunebase.claim_deliveries(integer, integer, jsonb, integer),
  tunebase.record_deliveries(jsonb),
  tunebase.prune_notifications(integer)
to tunebase_scheduler;
