-- Which request made which job, so that the same request sent again makes none.
create table tunebase_internal.job_requests (
  job_id uuid primary key references tunebase.jobs on delete cascade,
  project_id uuid not null references tunebase.projects on delete cascade,
  idempotency_key text,
  request_hash text not null,
  -- A retry made it, and the request that it repeats may still be on its way here.
  created_by_retry boolean not null default false,
  created_at timestamptz not null default now()
);
create unique index job_requests_key on tunebase_internal.job_requests (project_id, idempotency_key) where idempotency_key is not null;
create index job_requests_hash on tunebase_internal.job_requests (project_id, request_hash, created_at desc);
create index job_requests_created on tunebase_internal.job_requests (created_at);

alter table tunebase_internal.job_requests enable row level security;
