create table tunebase.adapters (
  id uuid primary key default tunebase_internal.uuid7(),
  job_id uuid not null unique references tunebase.jobs on delete cascade,
  project_id uuid not null references tunebase.projects on delete cascade,
  attempt_id uuid not null references tunebase.attempts on delete cascade,
  name text not null unique,
  base_model text not null references tunebase.base_models,
  manifest jsonb not null,
  -- Prefix of its objects in the bucket `tunebase-adapters`.
  prefix text not null,
  bytes bigint not null check (bytes > 0),
  created_at timestamptz not null default now(),
  -- Deleted on request: the row stays for its jobs, the files are deleted.
  deleted_at timestamptz
);
create index adapters_project on tunebase.adapters (project_id);
create index adapters_attempt on tunebase.adapters (attempt_id);

alter table tunebase.jobs add foreign key (parent_model) references tunebase.adapters (name);
create index jobs_parent_model on tunebase.jobs (parent_model) where parent_model is not null;
create index adapters_base_model on tunebase.adapters (base_model);

alter table tunebase.adapters enable row level security;
create policy members_read on tunebase.adapters for select to authenticated
using (project_id in (select tunebase_internal.member_project_ids()));

comment on table tunebase.adapters is 'The adapter of a succeeded job: a fine-tuned model.';
