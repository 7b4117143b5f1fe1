create table tunebase_internal.runpod_endpoints (
  endpoint_id text primary key,
  -- Maximum concurrent attempts; null: unlimited by Tunebase.
  max_running integer check (max_running >= 0),
  -- /run calls per second (RunPod accepts 1,000 in ten seconds). A token bucket that holds one second's calls.
  run_per_second real not null default 100 check (run_per_second > 0),
  calls_left real not null default 1,
  counted_at timestamptz not null default now(),
  -- After a 429, no calls before this time.
  blocked_until timestamptz
);

alter table tunebase_internal.runpod_endpoints enable row level security;

comment on table tunebase_internal.runpod_endpoints is 'Limits of a RunPod endpoint, shared by all dispatchers. Rows are created on first use.';
