-- Projects, their members and API keys, and who a caller is.
create table tunebase.projects (
  id uuid primary key default tunebase_internal.uuid7(),
  name text not null check (char_length(name) between 1 and 100),
  -- Part of a fine-tuned model's name, `ft:<base>:<slug>:…`.
  slug text not null unique check (slug ~ '^[a-z0-9][a-z0-9-]{0,38}$'),
  -- How many attempts of this project may be alive at once.
  max_running integer not null default 4 check (max_running between 0 and 1000),
  -- What may be spent in a calendar month (UTC), and the month in which a warning at 80 % was sent. Never null by accident:
  -- null means no cap, and somebody wrote it. New projects get the operator's default (tunebase_internal.settings).
  spend_cap_usd numeric(12, 4) default 50 check (spend_cap_usd > 0),
  budget_warned_month date,
  -- Quotas, the operator's to set: jobs that have not ended, bytes of datasets and adapters (null: no limit), and
  -- requests a minute of each key and user.
  max_jobs integer default 1000 check (max_jobs >= 0),
  max_storage_bytes bigint default 107374182400 check (max_storage_bytes >= 0),
  requests_per_minute integer not null default 6000 check (requests_per_minute between 1 and 1000000),
  -- Counts its updates, for If-Match.
  version integer not null default 1,
  created_at timestamptz not null default now(),
  -- Put away: it can be read, and nothing new begins in it.
  archived_at timestamptz
);

alter table tunebase.projects enable row level security;
create policy members_read on tunebase.projects for select to authenticated
using (id in (select tunebase_internal.member_project_ids()));
