create table tunebase.attempts (
  id uuid primary key default tunebase_internal.uuid7(),
  job_id uuid not null references tunebase.jobs on delete cascade,
  project_id uuid not null references tunebase.projects on delete cascade,
  number integer not null check (number >= 1),
  state text not null check (state in ('submitting', 'submitted', 'submission_unknown', 'running', 'ended')),
  outcome text check (outcome in (
    'not_started', 'refused', 'succeeded', 'failed', 'preempted', 'paused', 'cancelled', 'lost', 'expired'
  )),
  -- Copied from the model, whose settings can change while the attempt runs.
  endpoint_id text not null,
  runpod_job_id text,
  gpu_config jsonb not null,
  execution_timeout_seconds integer not null,
  ttl_seconds integer not null,
  -- No worker may claim it after this time.
  claim_deadline timestamptz not null,
  -- When the scheduler reconciles it next.
  reconcile_at timestamptz,
  -- The holder's. Every worker that takes over increments the fencing token.
  fence integer not null default 0,
  worker_id text,
  -- The webhook-ids of answered claims, the holder's last. A repeated claim changes nothing.
  claim_request_ids text[] not null default '{}',
  lease_until timestamptz,
  last_sequence integer not null default 0,
  -- The number of late or repeated callbacks, which changed nothing.
  rejected_callbacks integer not null default 0,
  -- Cancelled, paused before it started, or over a cap: the scheduler cancels it at RunPod repeatedly until it has ended.
  cancel_requested boolean not null default false,
  cancel_requested_at timestamptz,
  cancel_sent_at timestamptz,
  -- Consecutive checks at which RunPod reported it as running but no heartbeat had arrived. Checks instead of time, so that
  -- an outage of Tunebase does not end healthy runs.
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
-- At most one attempt per job has not ended.
create unique index attempts_alive on tunebase.attempts (job_id) where state <> 'ended';
create index attempts_reconcile_at on tunebase.attempts (reconcile_at) where state <> 'ended';
create index attempts_alive_where on tunebase.attempts (project_id, endpoint_id) where state <> 'ended';
-- For a project's monthly spend.
create index attempts_project on tunebase.attempts (project_id, started_at);
-- For get_installation_metrics. Only ended attempts, so that a report does not write to it.
create index attempts_ended on tunebase.attempts (ended_at) include (started_at, cost_usd) where ended_at is not null;

alter table tunebase.attempts enable row level security;
create policy members_read on tunebase.attempts for select to authenticated
using (project_id in (select tunebase_internal.member_project_ids()));

comment on table tunebase.attempts is 'One run of a job on a GPU.';
