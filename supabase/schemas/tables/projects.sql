-- A project is a tenant: every row that a user can see belongs to one.
create table tunebase.projects (
  id uuid primary key default tunebase_internal.uuid7(),
  name text not null check (char_length(name) between 1 and 100),
  -- Part of a fine-tuned model's name, `ft:<base>:<slug>:…`.
  slug text not null unique check (slug ~ '^[a-z0-9][a-z0-9-]{0,38}$'),
  -- How many attempts of this project may be alive at once.
  max_running integer not null default 4 check (max_running between 0 and 1000),
  -- The spend cap per calendar month (UTC), and the month of the last warning at 80%. null means no cap, which is always an
  -- explicit choice: new projects get the operator's default (tunebase_internal.settings).
  spend_cap_usd numeric(12, 4) default 50 check (spend_cap_usd > 0),
  budget_warned_month date,
  -- Quotas, set by the operator: unfinished jobs, bytes of datasets and adapters (null: no limit), and requests per minute of
  -- each API key and user.
  max_jobs integer default 1000 check (max_jobs >= 0),
  max_storage_bytes bigint default 107374182400 check (max_storage_bytes >= 0),
  requests_per_minute integer not null default 6000 check (requests_per_minute between 1 and 1000000),
  -- Whether clients can store chat completions (`store: true`), and for how long.
  store_completions boolean not null default false,
  completion_retention_days integer not null default 30 check (completion_retention_days between 1 and 3650),
  -- Counts updates, for If-Match.
  version integer not null default 1,
  created_at timestamptz not null default now(),
  -- Archived projects are read-only.
  archived_at timestamptz
);

alter table tunebase.projects enable row level security;
create policy members_read on tunebase.projects for select to authenticated
using (id in (select tunebase_internal.member_project_ids()));
