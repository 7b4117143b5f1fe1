-- Jobs, attempts and what they leave. The states are in docs/states.md; the functions that move them come next.

create table public.jobs (
  id uuid primary key,
  project_id uuid not null references public.projects on delete cascade,
  status text not null check (
    status in ('validating_files', 'queued', 'running', 'paused', 'succeeded', 'failed', 'cancelled')
  ),
  stage text check (stage in (
    'setup', 'downloading', 'preparing', 'loading_model', 'configuring', 'training', 'saving', 'uploading', 'completed'
  )),

  -- What was asked for.
  base_model text not null references public.base_models,
  training_file uuid not null references public.files,
  validation_file uuid references public.files,
  -- As the client sees them, "auto" resolved; `plan` is the trainer's own words for the same.
  hyperparameters jsonb not null,
  plan jsonb not null,
  suffix text check (suffix ~ '^[A-Za-z0-9._-]{1,64}$'),
  seed integer not null,
  metadata jsonb not null default '{}',
  created_by text not null,
  created_at timestamptz not null default now(),

  -- Where it is.
  progress real not null default 0 check (progress between 0 and 100),
  current_epoch real not null default 0,
  total_epochs real,
  current_step integer not null default 0,
  total_steps integer,
  trained_tokens bigint not null default 0,
  tokens_per_second real,
  training_loss double precision,
  estimated_finish timestamptz,
  -- The number of its newest event: 1, 2, 3 … without gaps, because taking one locks this row.
  last_event integer not null default 0,

  -- When a queued job is to be dispatched next; infinity while an attempt of it is out.
  due_at timestamptz,
  -- Why it waits, as far as RunPod's /health says.
  queue_reason text,
  queued_at timestamptz,
  started_at timestamptz,
  finished_at timestamptz,
  pause_wanted boolean not null default false,
  -- Tries that failed through no fault of the user since the newest checkpoint, and how many there may be.
  tries integer not null default 0,
  max_tries integer not null default 3 check (max_tries between 1 and 20),
  spend_cap_usd numeric(12, 4) check (spend_cap_usd > 0),
  -- When 80 % of the cap were passed, and the owner was told.
  budget_warned_at timestamptz,
  cost_usd numeric(12, 6) not null default 0,
  -- What it is expected to cost, set aside from the project's cap while it has not ended.
  reserved_usd numeric(12, 4) not null default 0 check (reserved_usd >= 0),

  -- How it ended.
  error_code text,
  error_message text,
  error_hint text,
  error_param text,
  fine_tuned_model text unique,

  check (tunebase.is_final(status) = (finished_at is not null)),
  check (status <> 'queued' or due_at is not null),
  check ((status = 'failed') = (error_code is not null)),
  check ((status = 'succeeded') = (fine_tuned_model is not null))
);
create index jobs_project on public.jobs (project_id, id desc);
-- The dispatcher hops from one project's and model's line to the next, and reads the head of each.
create index jobs_queue on public.jobs (project_id, base_model, due_at) where status = 'queued' and due_at < 'infinity';
create index jobs_open on public.jobs (project_id, id) where status in ('validating_files', 'queued', 'running', 'paused');
create index jobs_training_file on public.jobs (training_file);
create index jobs_validation_file on public.jobs (validation_file) where validation_file is not null;
create index jobs_metadata on public.jobs using gin (metadata jsonb_path_ops);

create table public.attempts (
  id uuid primary key default tunebase.uuid7(),
  job_id uuid not null references public.jobs on delete cascade,
  project_id uuid not null references public.projects on delete cascade,
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
  look_at timestamptz,
  -- Who holds it: the fence grows with every worker that takes it over.
  fence integer not null default 0,
  worker_id text,
  -- The webhook-ids of the claims that were answered, the holder's last: one that comes again changes nothing.
  claims text[] not null default '{}',
  lease_until timestamptz,
  last_sequence integer not null default 0,
  -- Callbacks that came too late or twice, and changed nothing.
  stale_reports integer not null default 0,
  -- Nobody wants it any more (cancelled, paused before it began, over the cap): it is cancelled at RunPod until it ends.
  cancel_wanted boolean not null default false,
  cancel_wanted_at timestamptz,
  cancel_sent_at timestamptz,
  -- Looks in a row at which RunPod said that it runs and nobody had heard of it. Looks and not time: an outage here
  -- must not end runs that go on well.
  silent_looks integer not null default 0,
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
  check ((state = 'ended') = (look_at is null)),
  check (state <> 'running' or (fence > 0 and worker_id is not null and lease_until is not null))
);
-- At most one attempt of a job is alive.
create unique index attempts_alive on public.attempts (job_id) where state <> 'ended';
create index attempts_look_at on public.attempts (look_at) where state <> 'ended';
create index attempts_alive_where on public.attempts (project_id, endpoint_id) where state <> 'ended';
-- What a project has spent in a month.
create index attempts_project on public.attempts (project_id, started_at);

create table public.events (
  id uuid not null unique default tunebase.uuid7(),
  job_id uuid not null references public.jobs on delete cascade,
  project_id uuid not null references public.projects on delete cascade,
  number integer not null check (number >= 1),
  level text not null check (level in ('info', 'warn', 'error')),
  type text not null check (type in ('message', 'metrics')),
  message text not null,
  data jsonb,
  created_at timestamptz not null default now(),
  primary key (job_id, number)
);
create index events_project on public.events (project_id);

create table public.metrics (
  job_id uuid not null references public.jobs on delete cascade,
  step integer not null check (step >= 1),
  project_id uuid not null references public.projects on delete cascade,
  attempt integer not null,
  epoch double precision not null,
  training_loss double precision,
  validation_loss double precision,
  learning_rate double precision,
  gradient_norm double precision,
  tokens_per_second double precision,
  gpu_utilization double precision,
  gpu_memory_gb double precision,
  created_at timestamptz not null default now(),
  primary key (job_id, step)
);
create index metrics_project on public.metrics (project_id);

create table public.checkpoints (
  id uuid primary key default tunebase.uuid7(),
  job_id uuid not null references public.jobs on delete cascade,
  project_id uuid not null references public.projects on delete cascade,
  attempt_id uuid not null references public.attempts on delete cascade,
  step integer not null check (step >= 1),
  metrics jsonb not null default '{}',
  files jsonb not null,
  created_at timestamptz not null default now(),
  unique (job_id, step, attempt_id)
);
create index checkpoints_project on public.checkpoints (project_id);
create index checkpoints_attempt on public.checkpoints (attempt_id);

create table public.adapters (
  id uuid primary key default tunebase.uuid7(),
  job_id uuid not null unique references public.jobs on delete cascade,
  project_id uuid not null references public.projects on delete cascade,
  attempt_id uuid not null references public.attempts on delete cascade,
  name text not null unique,
  base_model text not null references public.base_models,
  manifest jsonb not null,
  -- Every object of it begins with this, in the bucket `adapters`.
  prefix text not null,
  bytes bigint not null check (bytes > 0),
  created_at timestamptz not null default now()
);
create index adapters_project on public.adapters (project_id);
create index adapters_attempt on public.adapters (attempt_id);

-- A file of an attempt that was read back from Storage and had this size and hash.
create table tunebase.verified_files (
  attempt_id uuid not null references public.attempts on delete cascade,
  path text not null,
  bytes bigint not null check (bytes > 0),
  sha256 text not null check (sha256 ~ '^[0-9a-f]{64}$'),
  verified_at timestamptz not null default now(),
  primary key (attempt_id, path)
);

-- Objects in Storage that nobody needs any more. Removed by the scheduler, again and again until Storage has done it.
create table tunebase.garbage (
  bucket text not null,
  object text not null,
  next_at timestamptz not null default now(),
  primary key (bucket, object)
);
create index garbage_next on tunebase.garbage (next_at);

-- What the operator must look at, once for each kind and subject.
create table tunebase.alerts (
  kind text not null,
  subject text not null,
  message text not null,
  times integer not null default 1,
  first_at timestamptz not null default now(),
  last_at timestamptz not null default now(),
  primary key (kind, subject)
);

-- Which request made which job, so that the same request sent again makes none.
create table tunebase.job_requests (
  job_id uuid primary key references public.jobs on delete cascade,
  project_id uuid not null references public.projects on delete cascade,
  idempotency_key text,
  request_hash text not null,
  -- A retry made it, and the request that it repeats may still be on its way here.
  overtook boolean not null default false,
  created_at timestamptz not null default now()
);
create unique index job_requests_key on tunebase.job_requests (project_id, idempotency_key) where idempotency_key is not null;
create index job_requests_hash on tunebase.job_requests (project_id, request_hash, created_at desc);
