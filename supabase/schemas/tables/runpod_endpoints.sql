-- What a RunPod endpoint may be asked for, shared by every dispatcher. A row is made when an endpoint is first used.
create table tunebase_internal.runpod_endpoints (
  endpoint_id text primary key,
  -- Attempts that may be alive there at once; null: as many as RunPod takes.
  max_running integer check (max_running >= 0),
  -- /run calls a second; RunPod takes 1,000 in ten seconds. A token bucket of one second's calls.
  run_per_second real not null default 100 check (run_per_second > 0),
  calls_left real not null default 1,
  counted_at timestamptz not null default now(),
  -- After a 429 nobody calls before then.
  blocked_until timestamptz
);

alter table tunebase_internal.runpod_endpoints enable row level security;
