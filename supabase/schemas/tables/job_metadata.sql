-- A row for each pair; a hash of it, because a value may be longer than an index takes.
create table tunebase_internal.job_metadata (
  project_id uuid not null,
  pair uuid not null,
  job_id uuid not null references tunebase.jobs on delete cascade,
  primary key (project_id, pair, job_id)
);
create index job_metadata_job on tunebase_internal.job_metadata (job_id);

alter table tunebase_internal.job_metadata enable row level security;
