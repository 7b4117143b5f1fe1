-- Jobs, attempts and what they leave. The states are in docs/states.md; the functions that move them come next.
create table tunebase.jobs (
  id uuid primary key,
  project_id uuid not null references tunebase.projects on delete cascade,
  status text not null check (
    status in ('validating_files', 'queued', 'running', 'paused', 'succeeded', 'failed', 'cancelled')
  ),
  stage text check (stage in (
    'setup', 'downloading', 'preparing', 'loading_model', 'configuring', 'training', 'saving', 'uploading', 'completed'
  )),

  -- What was asked for.
  base_model text not null references tunebase.base_models,
  -- The project's own fine-tune that training continues from. Its foreign key is in adapters.sql, which comes later.
  parent_model text,
  training_file uuid not null references tunebase.files,
  validation_file uuid references tunebase.files,
  -- As the client sees them, "auto" resolved; `plan` is the trainer's own words for the same.
  hyperparameters jsonb not null,
  plan jsonb not null,
  -- Generated, because the job's public object does not show the plan.
  method text generated always as (coalesce(plan ->> 'method', 'supervised')) stored
    check (method in ('supervised', 'dpo')),
  wandb jsonb generated always as (nullif(plan -> 'wandb', 'null')) stored,
  -- What POST /fine_tuning/estimates answers; with a `score` once the job has succeeded.
  estimate jsonb,
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

  -- false: once its files are valid, the job waits (paused) until a person starts it, which sets this to true. `paused`,
  -- not `validating_files`: no work is pending, nothing has to be examined, and the official SDKs can start it with `resume`.
  auto_start boolean not null default true,
  -- When a queued job is to be dispatched next; infinity while an attempt of it is out.
  due_at timestamptz,
  -- Why it waits, as far as RunPod's /health says.
  status_reason text,
  queued_at timestamptz,
  started_at timestamptz,
  finished_at timestamptz,
  pause_requested boolean not null default false,
  -- Tries that failed through no fault of the user since the newest checkpoint, and how many there may be.
  failed_attempts integer not null default 0,
  max_attempts integer not null default 3 check (max_attempts between 1 and 20),
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
  result_file uuid references tunebase.files,

  check (tunebase_internal.is_terminal(status) = (finished_at is not null)),
  check (status <> 'queued' or due_at is not null),
  check ((status = 'failed') = (error_code is not null)),
  check ((status = 'succeeded') = (fine_tuned_model is not null))
);
create index jobs_project on tunebase.jobs (project_id, id desc);
-- The dispatcher hops from one project's and model's line to the next, and reads the head of each.
create index jobs_queue on tunebase.jobs (project_id, base_model, due_at) where status = 'queued' and due_at < 'infinity';
create index jobs_open on tunebase.jobs (project_id, id) where tunebase_internal.is_open(status);
create index jobs_base_model on tunebase.jobs (base_model);
create index jobs_training_file on tunebase.jobs (training_file);
create index jobs_validation_file on tunebase.jobs (validation_file) where validation_file is not null;
-- The place in the queue counts what is due earlier: of the project, and in all.
create index jobs_due on tunebase.jobs (due_at, id) include (project_id) where status = 'queued' and due_at < 'infinity';
create index jobs_due_of_project on tunebase.jobs (project_id, due_at, id) where status = 'queued' and due_at < 'infinity';
create index jobs_result_file on tunebase.jobs (result_file) where result_file is not null;
-- Lists of jobs by status, model, time of creation and metadata. Every filter has an index whose order is the list's own,
-- newest first, so that a page costs the same however many jobs there are, and stays what it is while others are created.
create index jobs_project_status on tunebase.jobs (project_id, status, id desc);
create index jobs_project_model on tunebase.jobs (project_id, base_model, id desc);
create index jobs_project_without_metadata on tunebase.jobs (project_id, id desc) where metadata = '{}';
create index jobs_finished on tunebase.jobs (project_id, finished_at) where finished_at is not null;

alter table tunebase.jobs enable row level security;
create policy members_read on tunebase.jobs for select to authenticated
using (project_id in (select tunebase_internal.member_project_ids()));
