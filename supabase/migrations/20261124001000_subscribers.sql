-- Who is told of what: webhook endpoints for systems, channels (e-mail, Slack) for people.

-- Every type of event, as clients write it. The first three are OpenAI's names and shapes, the rest are ours beside them.
create function tunebase.event_types() returns text[]
language sql immutable set search_path = ''
as $$
  select array[
    'fine_tuning.job.succeeded', 'fine_tuning.job.failed', 'fine_tuning.job.cancelled',
    'fine_tuning.job.created', 'fine_tuning.job.started', 'fine_tuning.job.progress', 'fine_tuning.job.checkpoint',
    'fine_tuning.job.paused', 'fine_tuning.job.budget_warning', 'webhook_endpoint.disabled'
  ]
$$;

create table public.webhook_endpoints (
  id uuid primary key default tunebase.uuid7(),
  project_id uuid not null references public.projects on delete cascade,
  name text not null check (char_length(name) between 1 and 100),
  url text not null check (char_length(url) between 1 and 2048),
  event_types text[] not null check (event_types <@ tunebase.event_types() and cardinality(event_types) > 0),
  -- A progress event of a job is sent at most once in so many seconds.
  progress_seconds integer not null default 60 check (progress_seconds between 1 and 86400),
  enabled boolean not null default true,
  disabled_reason text,
  disabled_at timestamptz,
  -- The signing secret is derived from the master key, this row's id and the version: nothing that signs is stored.
  secret_version integer not null default 1 check (secret_version >= 1),
  -- Until then the version before signs too.
  old_secret_until timestamptz,
  rotated_at timestamptz,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  check (enabled = (disabled_at is null))
);
create index webhook_endpoints_project on public.webhook_endpoints (project_id, id desc);
-- Every report asks whether anybody wants progress; mostly nobody does, and this index says so in one look.
create index webhook_endpoints_progress on public.webhook_endpoints (project_id)
where enabled and 'fine_tuning.job.progress' = any (event_types);

create table public.notification_channels (
  id uuid primary key default tunebase.uuid7(),
  project_id uuid not null references public.projects on delete cascade,
  kind text not null check (kind in ('email', 'slack')),
  -- An e-mail address; of Slack's webhook URL, which is a secret, only a hint.
  target text not null check (char_length(target) between 1 and 320),
  event_types text[] not null check (event_types <@ tunebase.event_types() and cardinality(event_types) > 0),
  enabled boolean not null default true,
  disabled_reason text,
  disabled_at timestamptz,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  check (enabled = (disabled_at is null))
);
create index notification_channels_project on public.notification_channels (project_id, id desc);

-- Slack's URL, encrypted under a key that is derived from the master key: the database alone opens nothing.
create table tunebase.channel_secrets (
  channel_id uuid primary key references public.notification_channels on delete cascade,
  sealed text not null
);

-- How a receiver has been doing, for endpoints and channels alike; a row is there only while it fails.
create table tunebase.failing_targets (
  target_id uuid primary key,
  failing_since timestamptz not null,
  last_failed_at timestamptz not null
);
