create table tunebase.events (
  id uuid not null unique default tunebase_internal.uuid7(),
  job_id uuid not null references tunebase.jobs on delete cascade,
  -- The job's, for row-level security. Not a foreign key of its own: it would be checked for each row of each report.
  project_id uuid not null,
  number integer not null check (number >= 1),
  level text not null check (level in ('info', 'warn', 'error')),
  type text not null check (type in ('message', 'metrics')),
  message text not null,
  data jsonb,
  created_at timestamptz not null default now(),
  primary key (job_id, number)
);
-- Messages without metrics: in a long run a few messages are spread among 100,000 metric events.
create index events_messages on tunebase.events (job_id, number) where type = 'message';

alter table tunebase.events enable row level security;
create policy members_read on tunebase.events for select to authenticated
using (project_id in (select tunebase_internal.member_project_ids()));

comment on table tunebase.events is 'The log of a job, numbered 1, 2, 3 … without gaps.';
