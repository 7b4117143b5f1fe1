create table tunebase.checkpoints (
  id uuid primary key default tunebase_internal.uuid7(),
  job_id uuid not null references tunebase.jobs on delete cascade,
  project_id uuid not null references tunebase.projects on delete cascade,
  attempt_id uuid not null references tunebase.attempts on delete cascade,
  step integer not null check (step >= 1),
  metrics jsonb not null default '{}',
  files jsonb not null,
  created_at timestamptz not null default now(),
  unique (job_id, step, attempt_id)
);
create index checkpoints_project on tunebase.checkpoints (project_id);
create index checkpoints_attempt on tunebase.checkpoints (attempt_id);

alter table tunebase.checkpoints enable row level security;
create policy members_read on tunebase.checkpoints for select to authenticated
using (project_id in (select tunebase_internal.member_project_ids()));

comment on table tunebase.checkpoints is 'Verified checkpoints of a job, the newest three.';
