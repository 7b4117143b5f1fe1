create table tunebase_internal.failing_subscribers (
  target_id uuid primary key,
  failing_since timestamptz not null,
  last_failed_at timestamptz not null
);

alter table tunebase_internal.failing_subscribers enable row level security;

comment on table tunebase_internal.failing_subscribers is 'Receivers (endpoints and channels) that are currently failing.';
