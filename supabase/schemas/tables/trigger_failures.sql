create table tunebase_internal.trigger_failures (
  id uuid primary key default tunebase_internal.uuid7(),
  trigger text not null,
  job_id uuid,
  type text,
  error text not null,
  created_at timestamptz not null default now(),
  repaired_at timestamptz
);
create index trigger_failures_open on tunebase_internal.trigger_failures (id) where type is not null and repaired_at is null;

alter table tunebase_internal.trigger_failures enable row level security;

comment on table tunebase_internal.trigger_failures is 'What a trigger could not do. One row per failure: a counter would serialize transactions.';
