create table tunebase.attempts (
  id uuid primary key default tunebase_internal.uuid7(),
  job_id uuid not null references tunebase.jobs on delete cascade,
  project_id uuid not null references tunebase.projects on delete cascade,
  number integer not null check (number >= 1),
  state text not null check (state in ('submitting', 'submitted', 'submission_unknown', 'running', 'ended')),
  outcome text check (outcome in (
    'not_started', 'refused', 'succeeded', 'failed', 'preempted', 'paused', 'cancelled', 'lost', 'expired'
  )),
  -- Where it was sent: kept here, because settings change while it runs.
  endpoint_id text not null,
  runpod_job_id text,
  gpu_config jsonb not null,
  execution_timeout_seconds integer not null,
  ttl_seconds integer not null,
  -- A worker that has not claimed it by then will not get it.
  claim_deadline timestamptz not null,
  -- When the scheduler looks at it next, whatever happens.
  reconcile_at timestamptz,
  -- Who holds it: the fence grows with every worker that takes it over.
  fence integer not null default 0,
  worker_id text,
  -- The webhook-ids of the claim_request_ids that were answered, the holder's last: one that comes again changes nothing.
  claim_request_ids text[] not null default '{}',
  lease_until timestamptz,
  last_sequence integer not null default 0,
  -- Callbacks that came too late or twice, and changed nothing.
  rejected_callbacks integer not null default 0,
  -- Nobody wants it any more (cancelled, paused before it began, over the cap): it is cancelled at RunPod until it ends.
  cancel_requested boolean not null default false,
  cancel_requested_at timestamptz,
  cancel_sent_at timestamptz,
  -- Looks in a row at which RunPod said that it runs and nobody had heard of it. Looks and not time: an outage here
  -- must not end runs that go on well.
  missed_heartbeats integer not null default 0,
  cost_usd numeric(12, 6) not null default 0,
  created_at timestamptz not null default now(),
  submitted_at timestamptz,
  started_at timestamptz,
  last_report_at timestamptz,
  ended_at timestamptz,
  error_code text,
  error_message text,

  unique (job_id, number),
  check ((state = 'ended') = (outcome is not null)),
  check ((state = 'ended') = (ended_at is not null)),
  check ((state = 'ended') = (reconcile_at is null)),
  check (state <> 'running' or (fence > 0 and worker_id is not null and lease_until is not null))
);
-- At most one attempt of a job is alive.
create unique index attempts_alive on tunebase.attempts (job_id) where state <> 'ended';
create index attempts_look_at on tunebase.attempts (reconcile_at) where state <> 'ended';
create index attempts_alive_where on tunebase.attempts (project_id, endpoint_id) where state <> 'ended';
-- What a project has spent in a month.
create index attempts_project on tunebase.attempts (project_id, started_at);

alter table tunebase.attempts enable row level security;
create policy members_read on tunebase.attempts for select to authenticated
using (project_id in (select tunebase_internal.member_project_ids()));
