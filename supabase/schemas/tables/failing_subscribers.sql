-- How a receiver has been doing, for endpoints and channels alike; a row is there only while it fails.
create table tunebase_internal.failing_subscribers (
  target_id uuid primary key,
  failing_since timestamptz not null,
  last_failed_at timestamptz not null
);

alter table tunebase_internal.failing_subscribers enable row level security;
