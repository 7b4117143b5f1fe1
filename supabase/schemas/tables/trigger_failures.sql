-- For the operator: what a trigger could not do. A row each and not a counter: a counter's row would make
-- transactions wait for one another. `fan_out` pays what is still owed (type is not null) as soon as it can.
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
