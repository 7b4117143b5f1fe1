-- docs/states.md describes the states; functions/jobs/transitions/ change them.
create table tunebase.jobs (
  id uuid primary key,
  project_id uuid not null references tunebase.projects on delete cascade,
  status text not null check (
    status in ('validating_files', 'queued', 'running', 'paused', 'succeeded', 'failed', 'cancelled')
  ),
  stage text check (stage in (
    'setup', 'downloading', 'preparing', 'loading_model', 'configuring', 'training', 'evaluating', 'saving', 'uploading',
    'completed'
  )),

  -- The request.
  base_model text not null references tunebase.base_models,
  -- The project's own fine-tune that training continues from. Its foreign key is in adapters.sql, which comes later.
  parent_model text,
  training_file uuid not null references tunebase.files,
  validation_file uuid references tunebase.files,
  -- As the client sees them, with "auto" resolved; `plan` is the same in the trainer's terms.
  hyperparameters jsonb not null,
  plan jsonb not null,
  -- Generated, because the API does not show the plan.
  method text generated always as (coalesce(plan ->> 'method', 'supervised')) stored
    check (method in ('supervised', 'dpo')),
  wandb jsonb generated always as (nullif(plan -> 'wandb', 'null')) stored,
  huggingface jsonb generated always as (nullif(plan -> 'huggingface', 'null')) stored,
  -- As POST /fine_tuning/estimates returns it; with a `score` once the job has succeeded (score_estimate).
  estimate jsonb,
  suffix text check (suffix ~ '^[A-Za-z0-9._-]{1,64}$'),
  seed integer not null,
  metadata jsonb not null default '{}',
  created_by text not null,
  created_at timestamptz not null default now(),

  -- Its progress.
  progress real not null default 0 check (progress between 0 and 100),
  current_epoch real not null default 0,
  total_epochs real,
  current_step integer not null default 0,
  total_steps integer,
  trained_tokens bigint not null default 0,
  tokens_per_second real,
  training_loss double precision,
  estimated_finish timestamptz,
  -- The number of its newest event. Numbers have no gaps, because taking one locks this row.
  last_event integer not null default 0,

  -- false: once its files are valid, the job is `paused` until it is started, which sets this to true. It is not
  -- `validating_files`, because validation is complete and the official SDKs can start it with `resume`.
  auto_start boolean not null default true,
  -- When to dispatch a queued job next; infinity while it has a live attempt.
  due_at timestamptz,
  -- Why it is waiting, according to RunPod.
  status_reason text,
  queued_at timestamptz,
  started_at timestamptz,
  finished_at timestamptz,
  pause_requested boolean not null default false,
  -- Attempts lost to infrastructure failures since the newest checkpoint, and the maximum (retry_policy).
  failed_attempts integer not null default 0,
  max_attempts integer not null default 3 check (max_attempts between 1 and 20),
  spend_cap_usd numeric(12, 4) check (spend_cap_usd > 0),
  -- When a budget warning (80% of a cap) was sent.
  budget_warned_at timestamptz,
  cost_usd numeric(12, 6) not null default 0,
  -- Its expected cost, reserved from the project's cap while it is open.
  reserved_usd numeric(12, 4) not null default 0 check (reserved_usd >= 0),

  -- How it ended.
  error_code text,
  error_message text,
  error_hint text,
  error_param text,
  fine_tuned_model text unique,
  -- The manifest's: base and fine-tuned model compared (protocol.ts, Evaluation).
  evaluation jsonb,
  result_file uuid references tunebase.files,
  -- Where its adapter was pushed to.
  hub_url text,

  check (tunebase_internal.is_terminal(status) = (finished_at is not null)),
  check (status <> 'queued' or due_at is not null),
  check ((status = 'failed') = (error_code is not null)),
  check ((status = 'succeeded') = (fine_tuned_model is not null))
);
create index jobs_project on tunebase.jobs (project_id, id desc);
-- The dispatcher skips from one (project, model) queue to the next and reads the head of each.
create index jobs_queue on tunebase.jobs (project_id, base_model, due_at) where status = 'queued' and due_at < 'infinity';
create index jobs_open on tunebase.jobs (project_id, id) where tunebase_internal.is_open(status);
-- For project_spend. A spend cap bounds how many open jobs with a price there can be, but not how many without one.
create index jobs_reserved on tunebase.jobs (project_id)
where tunebase_internal.is_open(status) and reserved_usd > 0;
create index jobs_base_model on tunebase.jobs (base_model);
create index jobs_training_file on tunebase.jobs (training_file);
create index jobs_validation_file on tunebase.jobs (validation_file) where validation_file is not null;
-- For queue_position, which counts what is due earlier.
create index jobs_due on tunebase.jobs (due_at, id) include (project_id) where status = 'queued' and due_at < 'infinity';
create index jobs_due_of_project on tunebase.jobs (project_id, due_at, id) where status = 'queued' and due_at < 'infinity';
create index jobs_result_file on tunebase.jobs (result_file) where result_file is not null;
-- For list_jobs. Each filter has an index in the list's order, newest first, so that a page costs the same however many jobs
-- there are.
create index jobs_project_status on tunebase.jobs (project_id, status, id desc);
create index jobs_project_model on tunebase.jobs (project_id, base_model, id desc);
create index jobs_project_without_metadata on tunebase.jobs (project_id, id desc) where metadata = '{}';
create index jobs_finished on tunebase.jobs (project_id, finished_at) where finished_at is not null;
-- For get_installation_metrics, which counts the jobs of all projects.
create index jobs_finished_at on tunebase.jobs (finished_at) include (status, error_code, trained_tokens)
where finished_at is not null;

alter table tunebase.jobs enable row level security;
create policy members_read on tunebase.jobs for select to authenticated
using (project_id in (select tunebase_internal.member_project_ids()));
