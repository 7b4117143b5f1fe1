create table tunebase_internal.job_metadata (
  project_id uuid not null,
  pair uuid not null,
  job_id uuid not null references tunebase.jobs on delete cascade,
  primary key (project_id, pair, job_id)
);
create index job_metadata_job on tunebase_internal.job_metadata (job_id);

alter table tunebase_internal.job_metadata enable row level security;

comment on table tunebase_internal.job_metadata is 'One row per metadata pair of a job, to list jobs by metadata in id order.';
