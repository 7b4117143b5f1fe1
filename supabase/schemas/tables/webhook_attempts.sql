create table tunebase.webhook_attempts (
  id uuid primary key default tunebase_internal.uuid7(),
  delivery_id uuid not null references tunebase.webhook_deliveries on delete cascade,
  project_id uuid not null references tunebase.projects on delete cascade,
  url text not null,
  -- Without signatures and keys.
  request_headers jsonb not null,
  response_status integer,
  -- The first 4 KiB.
  response_body text,
  -- Why there was no response.
  error text,
  duration_ms integer not null,
  created_at timestamptz not null default now()
);
create index webhook_attempts_delivery on tunebase.webhook_attempts (delivery_id, id);
create index webhook_attempts_project on tunebase.webhook_attempts (project_id);

alter table tunebase.webhook_attempts enable row level security;
create policy members_read on tunebase.webhook_attempts for select to authenticated
using (project_id in (select tunebase_internal.member_project_ids()));

comment on table tunebase.webhook_attempts is 'The delivery log: one row per attempt.';
