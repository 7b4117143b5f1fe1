create table tunebase.webhook_deliveries (
  id uuid primary key default tunebase_internal.uuid7(),
  project_id uuid not null references tunebase.projects on delete cascade,
  -- The webhook-id of every attempt, so that receivers can deduplicate.
  event_id uuid not null,
  event_type text not null,
  event_created_at timestamptz not null,
  job_id uuid references tunebase.jobs on delete cascade,
  channel text not null check (channel = 'webhook' or channel = any (tunebase_internal.channel_kinds())),
  endpoint_id uuid references tunebase.webhook_endpoints on delete cascade,
  channel_id uuid references tunebase.notification_channels on delete cascade,
  target_id uuid generated always as (coalesce(endpoint_id, channel_id)) stored,
  -- The exact body that is sent; for email and Slack, the data it is rendered from.
  body text not null,
  status text not null default 'pending' check (status in ('pending', 'delivered', 'dead')),
  -- Why the delivery is dead.
  reason text,
  -- Attempts so far in the schedule of webhook_retry_delay; a replay resets it.
  tries integer not null default 0,
  next_at timestamptz default now(),
  -- Incremented by every claim, to detect late results.
  lease integer not null default 0,
  leased_until timestamptz,
  -- The result of the last attempt.
  response_status integer,
  error text,
  duration_ms integer,
  last_tried_at timestamptz,
  delivered_at timestamptz,
  created_at timestamptz not null default now(),

  unique (event_id, endpoint_id),
  unique (event_id, channel_id),
  check (num_nonnulls(endpoint_id, channel_id) = 1),
  check ((channel = 'webhook') = (endpoint_id is not null)),
  check ((status = 'pending') = (next_at is not null)),
  check ((status = 'dead') = (reason is not null)),
  check ((status = 'delivered') = (delivered_at is not null))
);
create index webhook_deliveries_due on tunebase.webhook_deliveries (target_id, next_at) where status = 'pending';
-- Deliveries on their last attempt: claim_deliveries ends those whose scheduler died during it.
create index webhook_deliveries_spent on tunebase.webhook_deliveries (next_at) where status = 'pending' and tries >= 10;
create index webhook_deliveries_project on tunebase.webhook_deliveries (project_id, id desc);
create index webhook_deliveries_endpoint on tunebase.webhook_deliveries (endpoint_id, id desc);
create index webhook_deliveries_channel on tunebase.webhook_deliveries (channel_id) where channel_id is not null;
create index webhook_deliveries_job on tunebase.webhook_deliveries (job_id, endpoint_id, event_created_at);
-- For get_installation_metrics.
create index webhook_deliveries_dead on tunebase.webhook_deliveries (created_at) where status = 'dead';
create index webhook_deliveries_old on tunebase.webhook_deliveries (created_at) where status <> 'pending';

alter table tunebase.webhook_deliveries enable row level security;
create policy members_read on tunebase.webhook_deliveries for select to authenticated
using (project_id in (select tunebase_internal.member_project_ids()));

comment on table tunebase.webhook_deliveries is 'One event to one receiver.';
