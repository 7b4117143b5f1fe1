create table tunebase.notification_channels (
  id uuid primary key default tunebase_internal.uuid7(),
  project_id uuid not null references tunebase.projects on delete cascade,
  kind text not null check (kind = any (tunebase_internal.channel_kinds())),
  -- An email address, or a hint of Slack's webhook URL, which is a secret.
  target text not null check (char_length(target) between 1 and 320),
  event_types text[] not null check (event_types <@ tunebase_internal.event_types() and cardinality(event_types) > 0),
  enabled boolean not null default true,
  disabled_reason text,
  disabled_at timestamptz,
  -- Counts updates, for If-Match.
  version integer not null default 1,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  check (enabled = (disabled_at is null))
);
create index notification_channels_project on tunebase.notification_channels (project_id, id desc);

alter table tunebase.notification_channels enable row level security;
create policy members_read on tunebase.notification_channels for select to authenticated
using (project_id in (select tunebase_internal.member_project_ids()));

comment on table tunebase.notification_channels is 'Email and Slack channels of a project.';
