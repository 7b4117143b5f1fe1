create table tunebase.metrics (
  job_id uuid not null references tunebase.jobs on delete cascade,
  step integer not null check (step >= 1),
  -- The job's, for row-level security. Not a foreign key of its own: it would be checked for each row of each report.
  project_id uuid not null,
  attempt integer not null,
  epoch double precision not null,
  training_loss double precision,
  validation_loss double precision,
  learning_rate double precision,
  gradient_norm double precision,
  tokens_per_second double precision,
  gpu_utilization double precision,
  gpu_memory_gb double precision,
  created_at timestamptz not null default now(),
  primary key (job_id, step)
);

alter table tunebase.metrics enable row level security;
create policy members_read on tunebase.metrics for select to authenticated
using (project_id in (select tunebase_internal.member_project_ids()));

comment on table tunebase.metrics is 'Training metrics of a job, one row per step.';
