create table tunebase.webhook_endpoints (
  id uuid primary key default tunebase_internal.uuid7(),
  project_id uuid not null references tunebase.projects on delete cascade,
  name text not null check (char_length(name) between 1 and 100),
  url text not null check (char_length(url) between 1 and 2048),
  event_types text[] not null check (event_types <@ tunebase_internal.event_types() and cardinality(event_types) > 0),
  -- Minimum seconds between two progress events of a job.
  progress_seconds integer not null default 60 check (progress_seconds between 1 and 86400),
  enabled boolean not null default true,
  disabled_reason text,
  disabled_at timestamptz,
  -- The signing secret is derived from the master key, this id and the version. No secret is stored.
  secret_version integer not null default 1 check (secret_version >= 1),
  -- Until then the previous version signs, too.
  old_secret_until timestamptz,
  rotated_at timestamptz,
  -- Counts updates, for If-Match.
  version integer not null default 1,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  check (enabled = (disabled_at is null))
);
create index webhook_endpoints_project on tunebase.webhook_endpoints (project_id, id desc);
-- Every report checks whether an endpoint subscribes to progress; usually none does, and this index answers quickly.
create index webhook_endpoints_progress on tunebase.webhook_endpoints (project_id)
where enabled and 'fine_tuning.job.progress' = any (event_types);

alter table tunebase.webhook_endpoints enable row level security;
create policy members_read on tunebase.webhook_endpoints for select to authenticated
using (project_id in (select tunebase_internal.member_project_ids()));

comment on table tunebase.webhook_endpoints is 'Webhook endpoints of a project.';
