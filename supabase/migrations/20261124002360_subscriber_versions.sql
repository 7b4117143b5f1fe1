-- Webhook endpoints and notification channels count their versions, for If-Match (see tunebase.next_version).

alter table public.webhook_endpoints add column version integer not null default 1;
alter table public.notification_channels add column version integer not null default 1;

create trigger next_version
before update of name, url, event_types, progress_seconds, enabled, secret_version or delete on public.webhook_endpoints
for each row execute function tunebase.next_version();
create trigger next_version before update of target, event_types, enabled or delete on public.notification_channels
for each row execute function tunebase.next_version();

-- In the form that is evaluated once a statement, as the advisors ask.
alter policy own_read on public.notification_reads using (user_id = (select auth.uid()));
