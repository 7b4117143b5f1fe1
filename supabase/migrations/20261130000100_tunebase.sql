-- Generated from supabase/schemas/ by `deno task schema --baseline`.
-- Bodies are not checked until everything they name exists.
set local check_function_bodies = off;

-- schemas/00_schemas_and_roles.sql
-- The two schemas and the three roles.
--
-- `tunebase` holds what project members may read, under row-level security; the operator may expose it to the Data API.
-- `tunebase_internal` is never exposed: functions, hashes, tokens, the outbox. The edge functions log in as three roles
-- that may execute their own functions and touch no table; the operator gives them passwords
-- (`alter role tunebase_api login password …`).
create schema tunebase;
create schema tunebase_internal;

do $$
declare
  v_role text;
begin
  -- Roles belong to the server, not to the database: another installation there may have created them.
  foreach v_role in array array['tunebase_api', 'tunebase_callback', 'tunebase_scheduler'] loop
    if not exists (select from pg_catalog.pg_roles where rolname = v_role) then
      execute format('create role %I nologin noinherit', v_role);
    end if;
  end loop;
end $$;

-- schemas/functions/support/uuid7.sql
-- A UUID of version 7 (RFC 9562): 48 bits of Unix milliseconds first, so that keys sort by time and indexes grow at one end.
-- Built into Postgres from version 18.
--
-- The body is SQL-standard (`return`), so its names are resolved at creation, it needs no search_path, and Postgres inlines
-- it. With a search_path of its own, every call was planned again: for is_terminal that took 8% of a report's time.
create function tunebase_internal.uuid7() returns uuid
language sql volatile
return encode(
  set_bit(
    set_bit(
      overlay(
        uuid_send(gen_random_uuid())
        placing substring(int8send(floor(extract(epoch from clock_timestamp()) * 1000)::bigint) from 3)
        from 1 for 6
      ),
      52, 1
    ),
    53, 1
  ),
  'hex'
)::uuid;

-- schemas/functions/support/is_terminal.sql
create function tunebase_internal.is_terminal(p_status text) returns boolean
language sql immutable
return p_status in ('succeeded', 'failed', 'cancelled');

-- schemas/functions/support/is_open.sql
-- An unfinished job: it counts against the project's quotas and may still cost money.
create function tunebase_internal.is_open(p_status text) returns boolean
language sql immutable
return p_status in ('validating_files', 'queued', 'running', 'paused');

-- schemas/functions/support/scopes.sql
-- Every scope. API keys hold some of them; roles imply some (role_allows).
create function tunebase_internal.scopes() returns text[]
language sql immutable
return array[
  'files:read', 'files:write', 'jobs:read', 'jobs:write', 'models:read', 'inference', 'webhooks:read', 'webhooks:write',
  'project:read', 'project:admin'
];

-- schemas/functions/support/event_types.sql
-- Every event type. The first three are OpenAI's. plpgsql: the outbox's check evaluates it for each event, and a language
-- sql function is planned every time.
create function tunebase_internal.event_types() returns text[]
language plpgsql immutable set search_path = ''
as $$
begin
  return array[
    'fine_tuning.job.succeeded', 'fine_tuning.job.failed', 'fine_tuning.job.cancelled',
    'fine_tuning.job.created', 'fine_tuning.job.started', 'fine_tuning.job.progress', 'fine_tuning.job.checkpoint',
    'fine_tuning.job.paused', 'fine_tuning.job.budget_warning', 'webhook_endpoint.disabled'
  ];
end $$;

-- schemas/functions/support/channel_kinds.sql
-- The kinds of notification channels; a webhook endpoint is not one. contracts/channels.ts declares the same list.
create function tunebase_internal.channel_kinds() returns text[]
language sql immutable
return array['email', 'slack'];

-- schemas/functions/support/member_project_ids.sql
-- The projects of the authenticated user, for row-level security. None for anonymous users, as in the API. Security definer,
-- because the policy on project_members would otherwise call itself.
create function tunebase_internal.member_project_ids() returns setof uuid
language sql stable security definer set search_path = ''
as $$
  select project_id
  from tunebase.project_members
  where user_id = (nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')::uuid
    and nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'is_anonymous' is distinct from 'true'
$$;

-- schemas/tables/settings.sql
-- The operator's settings: one row, which the migrations insert. `task operator` prints the statements that change it.
create table tunebase_internal.settings (
  one_row boolean primary key default true check (one_row),
  -- Who may create a project. invite: owners only; the operator names the first (add_owner). open: every user of the host app.
  signup text not null default 'invite' check (signup in ('invite', 'open')),
  -- The monthly cap that a new project gets; null: none.
  default_spend_cap_usd numeric(12, 4) default 50 check (default_spend_cap_usd > 0),
  -- The highest monthly cap that an owner may set; null: any cap, or no cap.
  max_spend_cap_usd numeric(12, 4) check (max_spend_cap_usd > 0),
  -- Archived projects count: otherwise an owner could archive a project that has spent its cap and create another.
  max_projects_per_owner integer not null default 20 check (max_projects_per_owner between 1 and 10000),
  -- With open sign-up, users must not set their own spending limits.
  constraint open_signup_needs_caps check (
    signup = 'invite' or (default_spend_cap_usd is not null and max_spend_cap_usd is not null)
  ),
  constraint default_within_max check (
    max_spend_cap_usd is null or (default_spend_cap_usd is not null and default_spend_cap_usd <= max_spend_cap_usd)
  )
);

alter table tunebase_internal.settings enable row level security;

comment on table tunebase_internal.settings is 'The operator''s settings: one row.';

-- schemas/tables/projects.sql
-- A project is a tenant: every row that a user can see belongs to one.
create table tunebase.projects (
  id uuid primary key default tunebase_internal.uuid7(),
  name text not null check (char_length(name) between 1 and 100),
  -- Part of a fine-tuned model's name, `ft:<base>:<slug>:…`.
  slug text not null unique check (slug ~ '^[a-z0-9][a-z0-9-]{0,38}$'),
  -- How many attempts of this project may be alive at once.
  max_running integer not null default 4 check (max_running between 0 and 1000),
  -- The spend cap per calendar month (UTC), and the month of the last warning at 80%. null means no cap, which is always an
  -- explicit choice: new projects get the operator's default (tunebase_internal.settings).
  spend_cap_usd numeric(12, 4) default 50 check (spend_cap_usd > 0),
  budget_warned_month date,
  -- Quotas, set by the operator: unfinished jobs, bytes of datasets and adapters (null: no limit), and requests per minute of
  -- each API key and user.
  max_jobs integer default 1000 check (max_jobs >= 0),
  max_storage_bytes bigint default 107374182400 check (max_storage_bytes >= 0),
  requests_per_minute integer not null default 6000 check (requests_per_minute between 1 and 1000000),
  -- Whether clients can store chat completions (`store: true`), and for how long.
  store_completions boolean not null default false,
  completion_retention_days integer not null default 30 check (completion_retention_days between 1 and 3650),
  -- Counts updates, for If-Match.
  version integer not null default 1,
  created_at timestamptz not null default now(),
  -- Archived projects are read-only.
  archived_at timestamptz
);

alter table tunebase.projects enable row level security;
create policy members_read on tunebase.projects for select to authenticated
using (id in (select tunebase_internal.member_project_ids()));

-- schemas/tables/project_members.sql
create table tunebase.project_members (
  project_id uuid not null references tunebase.projects on delete cascade,
  user_id uuid not null references auth.users on delete cascade,
  role text not null check (role in ('owner', 'developer', 'viewer')),
  created_at timestamptz not null default now(),
  primary key (project_id, user_id)
);
create index project_members_user on tunebase.project_members (user_id, created_at);

alter table tunebase.project_members enable row level security;
create policy members_read on tunebase.project_members for select to authenticated
using (project_id in (select tunebase_internal.member_project_ids()));

comment on table tunebase.project_members is 'Who belongs to a project, in which role.';

-- schemas/tables/invitations.sql
-- Invitations to join a project. An invitation does not reveal whether its address has an account.
create table tunebase_internal.invitations (
  id uuid primary key default tunebase_internal.uuid7(),
  project_id uuid not null references tunebase.projects on delete cascade,
  email text not null check (email = lower(email) and char_length(email) between 3 and 254),
  role text not null check (role in ('owner', 'developer', 'viewer')),
  created_at timestamptz not null default now(),
  expires_at timestamptz not null default now() + interval '14 days',
  unique (project_id, email)
);
create index invitations_email on tunebase_internal.invitations (email);

alter table tunebase_internal.invitations enable row level security;

-- schemas/tables/api_keys.sql
create table tunebase.api_keys (
  id uuid primary key default tunebase_internal.uuid7(),
  project_id uuid not null references tunebase.projects on delete cascade,
  name text not null check (char_length(name) between 1 and 100),
  -- Both ends of the key, to recognize it: 'tb_abc…wxyz'.
  hint text not null check (char_length(hint) <= 20),
  scopes text[] not null check (scopes <@ tunebase_internal.scopes() and cardinality(scopes) > 0),
  created_by uuid references auth.users on delete set null,
  version integer not null default 1,
  created_at timestamptz not null default now(),
  last_used_at timestamptz,
  expires_at timestamptz,
  revoked_at timestamptz
);
create index api_keys_created_by on tunebase.api_keys (created_by) where created_by is not null;
create index api_keys_project on tunebase.api_keys (project_id);

alter table tunebase.api_keys enable row level security;
create policy members_read on tunebase.api_keys for select to authenticated
using (project_id in (select tunebase_internal.member_project_ids()));

comment on table tunebase.api_keys is 'API keys of a project. The key itself is shown once and never stored.';

-- schemas/tables/api_key_hashes.sql
create table tunebase_internal.api_key_hashes (
  hash bytea primary key check (octet_length(hash) = 32),
  api_key_id uuid not null unique references tunebase.api_keys on delete cascade
);

alter table tunebase_internal.api_key_hashes enable row level security;

comment on table tunebase_internal.api_key_hashes is 'SHA-256 of each API key, separate from the row that members can read.';

-- schemas/tables/rate_buckets.sql
create unlogged table tunebase_internal.rate_buckets (
  subject uuid primary key,
  tokens double precision not null,
  counted_at timestamptz not null
);

alter table tunebase_internal.rate_buckets enable row level security;

comment on table tunebase_internal.rate_buckets is 'One token bucket per API key or user. Unlogged: a crash refills the buckets.';

-- schemas/tables/idempotency_keys.sql
-- POST requests of the last day, so that a repeated request is not executed again. There are two kinds of rows:
--
-- A request that must not happen twice (a job costs money) is recorded in the transaction that creates its resource
-- (record_created_resource), with or without an Idempotency-Key.
-- Any other request with an Idempotency-Key is reserved while it runs (locked_until), and then stored with its response. The
-- response is encrypted with the key itself, because it can contain a secret that is shown once; the key is stored as a hash.
create table tunebase_internal.idempotency_keys (
  id uuid primary key default tunebase_internal.uuid7(),
  -- The hash of an API key, or a user's id.
  subject text not null,
  -- null: the request had no Idempotency-Key.
  key_hash text check (key_hash ~ '^[0-9a-f]{64}$'),
  -- null while a form is being received, because its body is hashed as it is read.
  request_hash text check (request_hash ~ '^[0-9a-f]{64}$'),
  -- After this time, a reservation without a response belongs to a dead isolate.
  locked_until timestamptz,
  answer text,
  -- What the request created.
  resource_id uuid,
  -- Created by a retry: the original request may still arrive.
  created_by_retry boolean not null default false,
  created_at timestamptz not null default now(),
  check ((locked_until is null) = (resource_id is not null)),
  check (key_hash is not null or resource_id is not null)
);
create unique index idempotency_keys_key on tunebase_internal.idempotency_keys (subject, key_hash) where key_hash is not null;
create index idempotency_keys_request on tunebase_internal.idempotency_keys (subject, request_hash, created_at desc)
where key_hash is null;
create index idempotency_keys_created_by_retry on tunebase_internal.idempotency_keys (subject, request_hash) where created_by_retry;
create index idempotency_keys_created on tunebase_internal.idempotency_keys (created_at);

alter table tunebase_internal.idempotency_keys enable row level security;

-- schemas/tables/base_models.sql
create table tunebase.base_models (
  -- The `model` that clients send.
  id text primary key check (id ~ '^[A-Za-z0-9][A-Za-z0-9._/-]{0,199}$'),
  -- Where the trainer finds it: a hub id, `package:<PyPI name>`, or a directory of the worker.
  source text not null check (source <> ''),
  revision text,
  owned_by text not null,
  -- null: the default endpoint (RUNPOD_ENDPOINT_ID).
  endpoint_id text,
  -- {gpu_type, num_gpus, gpu_memory_gb, cost_per_gpu_hour}: the trainer's contract.
  gpu_config jsonb not null check (
    gpu_config ?& array['gpu_type', 'num_gpus', 'gpu_memory_gb', 'cost_per_gpu_hour']
    and jsonb_typeof(gpu_config -> 'gpu_type') = 'string' and jsonb_typeof(gpu_config -> 'num_gpus') = 'number'
    and jsonb_typeof(gpu_config -> 'gpu_memory_gb') = 'number' and jsonb_typeof(gpu_config -> 'cost_per_gpu_hour') = 'number'
  ),
  -- Hyperparameters that apply where the client sends none or "auto".
  defaults jsonb not null default '{}' check (jsonb_typeof(defaults) = 'object'),
  max_length integer not null check (max_length between 64 and 131072),
  -- RunPod's policy: the longest run, and the longest wait for a worker.
  execution_timeout_seconds integer not null default 86400 check (execution_timeout_seconds between 5 and 604800),
  queue_timeout_seconds integer not null default 3600 check (queue_timeout_seconds between 10 and 86400),
  -- Approximate training throughput on that GPU, for estimates and budget reservations. null: unknown, nothing is reserved.
  tokens_per_second real check (tokens_per_second > 0),
  -- The measured throughput of finished jobs (an average over about the last ten), their number, and their GPUs. Estimates
  -- prefer it as long as gpu_config names those GPUs.
  measured_tokens_per_second real check (measured_tokens_per_second > 0),
  measured_jobs integer not null default 0,
  measured_gpus text,
  -- The folder in the bucket `tunebase-tokenizers` with the model's tokenizer.json, tokenizer_config.json and chat_template.jinja.
  -- Use a new folder for each tokenizer: token counts are stored under this name. null: tokens are estimated.
  tokenizer text check (tokenizer ~ '^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*$'),
  -- For the GPU memory estimate, from config.json; `parameters` is the total. null: unknown.
  parameters bigint check (parameters > 0),
  hidden_size integer check (hidden_size > 0),
  layers integer check (layers > 0),
  vocab_size integer check (vocab_size > 0),
  -- The RunPod load-balancing endpoint that serves this model and its fine-tunes. null: not served.
  inference_endpoint_id text check (inference_endpoint_id ~ '^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$'),
  -- The highest LoRA rank that the endpoint loads (vLLM's --max-lora-rank).
  inference_max_rank integer not null default 64 check (inference_max_rank between 1 and 512),
  -- The context that the endpoint serves, in tokens (vLLM's --max-model-len). null: max_length.
  inference_max_length integer check (inference_max_length >= 64),
  -- Inference prices: per million tokens, and per hour of answering requests.
  inference_usd_per_million_input_tokens numeric(12, 6) not null default 0 check (inference_usd_per_million_input_tokens >= 0),
  inference_usd_per_million_output_tokens numeric(12, 6) not null default 0 check (inference_usd_per_million_output_tokens >= 0),
  inference_usd_per_hour numeric(12, 6) not null default 0 check (inference_usd_per_hour >= 0),
  enabled boolean not null default true,
  created_at timestamptz not null default now(),
  -- RunPod keeps a job for at most seven days.
  check (execution_timeout_seconds + queue_timeout_seconds <= 604800)
);

alter table tunebase.base_models enable row level security;
-- Any member of any project. Other users of the host app see nothing.
create policy members_read on tunebase.base_models for select to authenticated
using (enabled and exists (select from tunebase_internal.member_project_ids()));

comment on table tunebase.base_models is 'The base models that the operator has configured.';

-- schemas/tables/runpod_endpoints.sql
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

-- schemas/tables/files.sql
create table tunebase.files (
  id uuid primary key,
  project_id uuid not null references tunebase.projects on delete cascade,
  filename text not null check (char_length(filename) between 1 and 255),
  purpose text not null check (purpose in ('fine-tune', 'fine-tune-results')),
  bytes bigint not null check (bytes > 0),
  -- null until the whole file has been read.
  sha256 text check (sha256 ~ '^[0-9a-f]{64}$'),
  -- uploaded: waiting for validation or being validated. The other two are final.
  status text not null check (status in ('uploaded', 'processed', 'error')),
  status_details text,
  -- What validation found: `DatasetReport` in _shared/datasets/report.ts.
  report jsonb not null default '{}',
  object text not null,
  -- For a file in another format, which is converted: `object`, `bytes` and `sha256` describe its canonical rows, which are
  -- trained on. These columns describe the uploaded file: its format (such as `alpaca_csv`), its original object, and
  -- `ConversionSummary` in _shared/datasets/convert/conversion.ts.
  source_format text,
  conversion jsonb,
  original_object text,
  original_bytes bigint check (original_bytes > 0),
  original_sha256 text check (original_sha256 ~ '^[0-9a-f]{64}$'),
  created_at timestamptz not null default now(),
  expires_at timestamptz,
  -- The row stays for the jobs that used the file; the bytes are deleted.
  deleted_at timestamptz,
  check (status <> 'processed' or sha256 is not null),
  check (num_nulls(source_format, conversion, original_object, original_bytes, original_sha256) in (0, 5))
);
create index files_project on tunebase.files (project_id, id desc) where deleted_at is null;
create index files_expiring on tunebase.files (expires_at) where expires_at is not null and deleted_at is null;
-- Equal files (same project, purpose and SHA-256) share one object, which is deleted with the last of them.
create index files_object on tunebase.files (object) where deleted_at is null;
create index files_original_object on tunebase.files (original_object) where original_object is not null and deleted_at is null;
create index files_sha256 on tunebase.files (project_id, sha256) where deleted_at is null and status = 'processed';

alter table tunebase.files enable row level security;
create policy members_read on tunebase.files for select to authenticated
using (project_id in (select tunebase_internal.member_project_ids()));

comment on table tunebase.files is 'Files of a project: datasets and results.';

-- schemas/tables/file_validations.sql
create table tunebase_internal.file_validations (
  file_id uuid primary key references tunebase.files on delete cascade,
  -- The parts of the file in order: [{object, bytes}] in the bucket `tunebase-datasets`.
  sources jsonb not null check (jsonb_array_length(sources) > 0),
  -- Several parts are copied into one object by a resumable upload; its URL, once created.
  is_copied boolean not null,
  upload_url text,
  -- Where the canonical rows of a file in another format are written, and how many bytes they have.
  converted_object text,
  converted_bytes bigint,
  -- The MD5 that the client expects.
  md5 text check (md5 ~ '^[0-9a-f]{32}$'),
  -- The validator's state: see tunebase-scheduler/file_validation/validate_files.ts.
  state jsonb,
  -- The holder. A new lease invalidates the writes of the old one.
  lease uuid,
  -- When it may be claimed again.
  next_at timestamptz not null default now(),
  -- Failures since it last made progress.
  failures integer not null default 0
);
create index file_validations_next on tunebase_internal.file_validations (next_at);

alter table tunebase_internal.file_validations enable row level security;

comment on table tunebase_internal.file_validations is 'Unfinished validations, with their position in the file.';

-- schemas/tables/file_row_hashes.sql
create table tunebase_internal.file_row_hashes (
  file_id uuid primary key references tunebase.files on delete cascade,
  threshold bigint not null check (threshold between 1 and 9007199254740992),
  hashes bigint[] not null
);

alter table tunebase_internal.file_row_hashes enable row level security;

comment on table tunebase_internal.file_row_hashes is 'Hashes of a file''s rows, to compare files: all below the threshold (2^53 means all).';

-- schemas/tables/token_samples.sql
create table tunebase_internal.token_samples (
  file_id uuid not null references tunebase.files on delete cascade,
  counter text not null,
  sample jsonb not null,
  created_at timestamptz not null default now(),
  primary key (file_id, counter)
);

alter table tunebase_internal.token_samples enable row level security;

comment on table tunebase_internal.token_samples is 'Token counts of a file''s rows, per tokenizer (or ''characters'').';

-- schemas/tables/result_contents.sql
create table tunebase_internal.result_contents (
  file_id uuid primary key references tunebase.files on delete cascade,
  content text not null
);

alter table tunebase_internal.result_contents enable row level security;

comment on table tunebase_internal.result_contents is 'Result files: the metrics of a job as CSV, written when the job succeeds.';

-- schemas/tables/uploads.sql
create table tunebase_internal.uploads (
  id uuid primary key,
  project_id uuid not null references tunebase.projects on delete cascade,
  -- parts: through the API, one object per part. direct: from the client to Storage, into `object`.
  kind text not null check (kind in ('parts', 'direct')),
  object text check ((kind = 'direct') = (object is not null)),
  filename text not null check (char_length(filename) between 1 and 255),
  purpose text not null check (purpose = 'fine-tune'),
  bytes bigint not null check (bytes > 0),
  mime_type text not null check (char_length(mime_type) <= 255),
  file_expires_after integer check (file_expires_after > 0),
  status text not null default 'pending' check (status in ('pending', 'completed', 'cancelled', 'expired')),
  file_id uuid references tunebase.files on delete set null,
  created_at timestamptz not null default now(),
  expires_at timestamptz not null
);
create index uploads_expiring on tunebase_internal.uploads (expires_at, status);
create index uploads_project on tunebase_internal.uploads (project_id);
create index uploads_file on tunebase_internal.uploads (file_id);

alter table tunebase_internal.uploads enable row level security;

comment on table tunebase_internal.uploads is 'Multipart and direct uploads. Both end as a file that waits for validation.';

-- schemas/tables/upload_parts.sql
create table tunebase_internal.upload_parts (
  id uuid primary key,
  upload_id uuid not null references tunebase_internal.uploads on delete cascade,
  object text not null unique,
  -- null until the part is complete in Storage. The row is inserted first, so that every object has a record.
  bytes bigint check (bytes >= 0),
  created_at timestamptz not null default now()
);
create index upload_parts_upload on tunebase_internal.upload_parts (upload_id);

alter table tunebase_internal.upload_parts enable row level security;

comment on table tunebase_internal.upload_parts is 'Parts of an upload.';

-- schemas/tables/orphaned_objects.sql
create table tunebase_internal.orphaned_objects (
  bucket text not null,
  object text not null,
  next_at timestamptz not null default now(),
  primary key (bucket, object)
);
create index orphaned_objects_next on tunebase_internal.orphaned_objects (next_at);

alter table tunebase_internal.orphaned_objects enable row level security;

comment on table tunebase_internal.orphaned_objects is 'Storage objects to delete. The scheduler retries until Storage confirms.';

-- schemas/tables/jobs.sql
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
  -- As in the API, with "auto" resolved; `plan` has the same values under the trainer's names.
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

  -- The outcome.
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
-- For project_spend. A spend cap bounds the number of open jobs with a reservation, but not of those without one.
create index jobs_reserved on tunebase.jobs (project_id)
where tunebase_internal.is_open(status) and reserved_usd > 0;
create index jobs_base_model on tunebase.jobs (base_model);
create index jobs_training_file on tunebase.jobs (training_file);
create index jobs_validation_file on tunebase.jobs (validation_file) where validation_file is not null;
-- For queue_position, which counts jobs that are due earlier.
create index jobs_due on tunebase.jobs (due_at, id) include (project_id) where status = 'queued' and due_at < 'infinity';
create index jobs_due_of_project on tunebase.jobs (project_id, due_at, id) where status = 'queued' and due_at < 'infinity';
create index jobs_result_file on tunebase.jobs (result_file) where result_file is not null;
-- For list_jobs. Each filter has an index in the list's order, newest first, so that the cost of a page does not depend on
-- the number of jobs.
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

-- schemas/tables/job_metadata.sql
create table tunebase_internal.job_metadata (
  project_id uuid not null,
  pair uuid not null,
  job_id uuid not null references tunebase.jobs on delete cascade,
  primary key (project_id, pair, job_id)
);
create index job_metadata_job on tunebase_internal.job_metadata (job_id);

alter table tunebase_internal.job_metadata enable row level security;

comment on table tunebase_internal.job_metadata is 'One row per metadata pair of a job, to list jobs by metadata in id order.';

-- schemas/tables/attempts.sql
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

-- schemas/tables/verified_files.sql
create table tunebase_internal.verified_files (
  attempt_id uuid not null references tunebase.attempts on delete cascade,
  path text not null,
  bytes bigint not null check (bytes > 0),
  sha256 text not null check (sha256 ~ '^[0-9a-f]{64}$'),
  verified_at timestamptz not null default now(),
  primary key (attempt_id, path)
);

alter table tunebase_internal.verified_files enable row level security;

comment on table tunebase_internal.verified_files is 'Files of an attempt that were read back from Storage with this size and hash.';

-- schemas/tables/events.sql
create table tunebase.events (
  id uuid not null unique default tunebase_internal.uuid7(),
  job_id uuid not null references tunebase.jobs on delete cascade,
  -- The job's, for row-level security. Not a foreign key of its own: it would be checked for each row of each report.
  project_id uuid not null,
  number integer not null check (number >= 1),
  level text not null check (level in ('info', 'warn', 'error')),
  type text not null check (type in ('message', 'metrics')),
  message text not null,
  data jsonb,
  created_at timestamptz not null default now(),
  primary key (job_id, number)
);
-- Messages without metrics: in a long run a few messages are spread among 100,000 metric events.
create index events_messages on tunebase.events (job_id, number) where type = 'message';

alter table tunebase.events enable row level security;
create policy members_read on tunebase.events for select to authenticated
using (project_id in (select tunebase_internal.member_project_ids()));

comment on table tunebase.events is 'The log of a job, numbered 1, 2, 3 … without gaps.';

-- schemas/tables/metrics.sql
create table tunebase.metrics (
  job_id uuid not null references tunebase.jobs on delete cascade,
  step integer not null check (step >= 1),
  -- The job's, for row-level security. Not a foreign key of its own: it would be checked for each row of each report.
  project_id uuid not null,
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

alter table tunebase.metrics enable row level security;
create policy members_read on tunebase.metrics for select to authenticated
using (project_id in (select tunebase_internal.member_project_ids()));

comment on table tunebase.metrics is 'Training metrics of a job, one row per step.';

-- schemas/tables/checkpoints.sql
create table tunebase.checkpoints (
  id uuid primary key default tunebase_internal.uuid7(),
  job_id uuid not null references tunebase.jobs on delete cascade,
  project_id uuid not null references tunebase.projects on delete cascade,
  attempt_id uuid not null references tunebase.attempts on delete cascade,
  step integer not null check (step >= 1),
  metrics jsonb not null default '{}',
  files jsonb not null,
  created_at timestamptz not null default now(),
  unique (job_id, step, attempt_id)
);
create index checkpoints_project on tunebase.checkpoints (project_id);
create index checkpoints_attempt on tunebase.checkpoints (attempt_id);

alter table tunebase.checkpoints enable row level security;
create policy members_read on tunebase.checkpoints for select to authenticated
using (project_id in (select tunebase_internal.member_project_ids()));

comment on table tunebase.checkpoints is 'Verified checkpoints of a job, the newest three.';

-- schemas/tables/adapters.sql
create table tunebase.adapters (
  id uuid primary key default tunebase_internal.uuid7(),
  job_id uuid not null unique references tunebase.jobs on delete cascade,
  project_id uuid not null references tunebase.projects on delete cascade,
  attempt_id uuid not null references tunebase.attempts on delete cascade,
  name text not null unique,
  base_model text not null references tunebase.base_models,
  manifest jsonb not null,
  -- Prefix of its objects in the bucket `tunebase-adapters`.
  prefix text not null,
  bytes bigint not null check (bytes > 0),
  created_at timestamptz not null default now(),
  -- Deleted on request: the row stays for its jobs, the files are deleted.
  deleted_at timestamptz
);
create index adapters_project on tunebase.adapters (project_id);
create index adapters_attempt on tunebase.adapters (attempt_id);

alter table tunebase.jobs add foreign key (parent_model) references tunebase.adapters (name);
create index jobs_parent_model on tunebase.jobs (parent_model) where parent_model is not null;
create index adapters_base_model on tunebase.adapters (base_model);

alter table tunebase.adapters enable row level security;
create policy members_read on tunebase.adapters for select to authenticated
using (project_id in (select tunebase_internal.member_project_ids()));

comment on table tunebase.adapters is 'The adapter of a succeeded job: a fine-tuned model.';

-- schemas/tables/inference_requests.sql
-- A log without foreign keys: keys, users and models can be deleted before their rows expire.
create table tunebase.inference_requests (
  id uuid primary key default tunebase_internal.uuid7(),
  project_id uuid not null references tunebase.projects on delete cascade,
  api_key_id uuid,
  user_id uuid,
  -- As the client sent it: a base model, a fine-tune or a checkpoint.
  model text not null check (char_length(model) between 1 and 300),
  base_model text not null,
  adapter_id uuid,
  -- abandoned: the API died during the request, which costs nothing.
  status text not null default 'open' check (status in ('open', 'succeeded', 'failed', 'cancelled', 'abandoned')),
  http_status integer,
  error_code text,
  stream boolean not null,
  prompt_tokens integer not null default 0 check (prompt_tokens >= 0),
  completion_tokens integer not null default 0 check (completion_tokens >= 0),
  first_token_ms integer,
  -- How long the engine was answering; charged at `inference_usd_per_hour`.
  seconds numeric(10, 3) not null default 0 check (seconds >= 0),
  -- The highest possible cost, reserved from the project's cap while the request is open.
  reserved_usd numeric(14, 9) not null default 0 check (reserved_usd >= 0),
  cost_usd numeric(14, 9) not null default 0 check (cost_usd >= 0),
  created_at timestamptz not null default now(),
  finished_at timestamptz,
  check ((status = 'open') = (finished_at is null))
);
create index inference_requests_project on tunebase.inference_requests (project_id, id desc);
-- For project_spend, and to find abandoned requests.
create index inference_requests_reserved on tunebase.inference_requests (project_id) include (reserved_usd)
where status = 'open' and reserved_usd > 0;
create index inference_requests_open on tunebase.inference_requests (id) where status = 'open';
-- For get_installation_metrics.
create index inference_requests_failed on tunebase.inference_requests (id) include (status, error_code)
where status in ('failed', 'abandoned');

alter table tunebase.inference_requests enable row level security;
create policy members_read on tunebase.inference_requests for select to authenticated
using (project_id in (select tunebase_internal.member_project_ids()));

comment on table tunebase.inference_requests is 'Chat and text completions, without their content.';

-- schemas/tables/inference_usage.sql
create table tunebase.inference_usage (
  id uuid primary key default tunebase_internal.uuid7(),
  project_id uuid not null references tunebase.projects on delete cascade,
  -- When the requests began (UTC). Time zone offsets are multiples of 15 minutes, so days can be summed in any time zone.
  quarter_hour timestamptz not null,
  model text not null,
  -- null: signed-in users.
  api_key_id uuid,
  requests integer not null,
  prompt_tokens bigint not null,
  completion_tokens bigint not null,
  seconds numeric(14, 3) not null,
  cost_usd numeric(14, 9) not null,
  unique nulls not distinct (project_id, quarter_hour, model, api_key_id)
);
-- For get_installation_metrics.
create index inference_usage_quarter_hour on tunebase.inference_usage (quarter_hour);

alter table tunebase.inference_usage enable row level security;
create policy members_read on tunebase.inference_usage for select to authenticated
using (project_id in (select tunebase_internal.member_project_ids()));

comment on table tunebase.inference_usage is 'Usage by finished requests, per 15 minutes, model and API key. Kept after the requests themselves expire.';

-- schemas/tables/inference_spend.sql
create table tunebase_internal.inference_spend (
  project_id uuid not null references tunebase.projects on delete cascade,
  -- The first day of a calendar month (UTC).
  month date not null,
  cost_usd numeric(14, 9) not null,
  primary key (project_id, month)
);

alter table tunebase_internal.inference_spend enable row level security;

comment on table tunebase_internal.inference_spend is 'The cost of finished inference requests, one row per project and month.';

-- schemas/tables/evaluations.sql
create table tunebase.evaluations (
  id uuid primary key default tunebase_internal.uuid7(),
  project_id uuid not null references tunebase.projects on delete cascade,
  api_key_id uuid references tunebase.api_keys on delete set null,
  user_id uuid references auth.users on delete set null,
  name text not null check (char_length(name) between 1 and 100),
  -- The file may have been deleted since: the evaluation has copies of its rows.
  file_id uuid not null references tunebase.files on delete cascade,
  -- Names as in the API. Each model answers every row.
  models text[] not null check (cardinality(models) between 1 and 4),
  graders jsonb not null default '[]' check (jsonb_typeof(graders) = 'array'),
  -- {temperature, max_completion_tokens, seed}
  sampling jsonb not null check (jsonb_typeof(sampling) = 'object'),
  metadata jsonb not null default '{}' check (jsonb_typeof(metadata) = 'object'),
  status text not null default 'running' check (status in ('running', 'succeeded', 'failed', 'cancelled')),
  -- Rows of the file, and how many of them are evaluated.
  file_rows integer not null check (file_rows >= 1),
  row_count integer not null check (row_count between 1 and 1000),
  -- Up to row_count times the number of models.
  answered integer not null default 0 check (answered >= 0),
  -- {code, message}, as in an error response.
  error jsonb,
  created_at timestamptz not null default now(),
  finished_at timestamptz,
  check ((status = 'running') = (finished_at is null))
);
create index evaluations_project on tunebase.evaluations (project_id, id);
create index evaluations_api_key on tunebase.evaluations (api_key_id) where api_key_id is not null;
create index evaluations_user on tunebase.evaluations (user_id) where user_id is not null;
create index evaluations_file on tunebase.evaluations (file_id);

alter table tunebase.evaluations enable row level security;
create policy members_read on tunebase.evaluations for select to authenticated
using (project_id in (select tunebase_internal.member_project_ids()));

comment on table tunebase.evaluations is 'Models compared over the rows of a file.';

-- schemas/tables/evaluation_rows.sql
create table tunebase.evaluation_rows (
  evaluation_id uuid not null references tunebase.evaluations on delete cascade,
  project_id uuid not null references tunebase.projects on delete cascade,
  -- In the file, from 1.
  line integer not null check (line >= 1),
  -- The prompt: {messages, tools}.
  prompt jsonb not null,
  expected text not null,
  -- The expected answer is tool calls, which are compared as JSON.
  is_json boolean not null,
  primary key (evaluation_id, line)
);
create index evaluation_rows_project on tunebase.evaluation_rows (project_id);

alter table tunebase.evaluation_rows enable row level security;
create policy members_read on tunebase.evaluation_rows for select to authenticated
using (project_id in (select tunebase_internal.member_project_ids()));

comment on table tunebase.evaluation_rows is 'The rows of an evaluation: prompts and expected answers.';

-- schemas/tables/evaluation_answers.sql
create table tunebase.evaluation_answers (
  evaluation_id uuid not null,
  line integer not null,
  -- In evaluations.models, from 1.
  model_number smallint not null check (model_number >= 1),
  project_id uuid not null references tunebase.projects on delete cascade,
  -- null: the model could not answer, see error.
  answer text,
  finish_reason text,
  error text,
  -- {exact_match, valid_json, fields_correct, fields_expected, graders}; null without an answer.
  scores jsonb,
  prompt_tokens integer not null default 0 check (prompt_tokens >= 0),
  completion_tokens integer not null default 0 check (completion_tokens >= 0),
  seconds numeric(10, 3) not null default 0 check (seconds >= 0),
  cost_usd numeric(14, 9) not null default 0 check (cost_usd >= 0),
  primary key (evaluation_id, line, model_number),
  foreign key (evaluation_id, line) references tunebase.evaluation_rows on delete cascade,
  check ((answer is null) = (error is not null)),
  check ((answer is null) = (scores is null))
);
create index evaluation_answers_project on tunebase.evaluation_answers (project_id);

alter table tunebase.evaluation_answers enable row level security;
create policy members_read on tunebase.evaluation_answers for select to authenticated
using (project_id in (select tunebase_internal.member_project_ids()));

comment on table tunebase.evaluation_answers is 'The models'' answers to the rows of an evaluation, with their scores.';

-- schemas/tables/evaluation_queue.sql
create table tunebase_internal.evaluation_queue (
  evaluation_id uuid not null,
  line integer not null,
  model_number smallint not null,
  -- The holder. A new lease invalidates the writes of the old one.
  lease uuid,
  -- When it may be claimed again.
  next_at timestamptz not null default now(),
  -- How often the model failed to answer.
  failures integer not null default 0,
  -- The open request of the holder (tunebase.inference_requests).
  request_id uuid,
  primary key (evaluation_id, line, model_number),
  foreign key (evaluation_id, line) references tunebase.evaluation_rows on delete cascade
);
create index evaluation_queue_next on tunebase_internal.evaluation_queue (next_at);

alter table tunebase_internal.evaluation_queue enable row level security;

comment on table tunebase_internal.evaluation_queue is 'Answers that running evaluations still need.';

-- schemas/tables/stored_completions.sql
create table tunebase.stored_completions (
  -- The id of the inference request.
  id uuid primary key,
  project_id uuid not null references tunebase.projects on delete cascade,
  model text not null,
  -- The conversation as the client sent it, and its tools.
  messages jsonb not null check (jsonb_typeof(messages) = 'array'),
  tools jsonb check (jsonb_typeof(tools) = 'array'),
  -- The answer as the client got it: a chat.completion.
  response jsonb not null,
  -- The first choice as the last message of a training row; null if it was truncated.
  answer jsonb,
  metadata jsonb not null default '{}' check (jsonb_typeof(metadata) = 'object'),
  created_at timestamptz not null default now(),
  expires_at timestamptz not null
);
create index stored_completions_project on tunebase.stored_completions (project_id, id desc);
create index stored_completions_expired on tunebase.stored_completions (expires_at);

alter table tunebase.stored_completions enable row level security;
create policy members_read on tunebase.stored_completions for select to authenticated
using (project_id in (select tunebase_internal.member_project_ids()));

comment on table tunebase.stored_completions is 'Chat completions that the client asked to store, in projects that allow it.';

-- schemas/tables/webhook_endpoints.sql
create table tunebase.webhook_endpoints (
  id uuid primary key default tunebase_internal.uuid7(),
  project_id uuid not null references tunebase.projects on delete cascade,
  name text not null check (char_length(name) between 1 and 100),
  url text not null check (char_length(url) between 1 and 2048),
  event_types text[] not null check (event_types <@ tunebase_internal.event_types() and cardinality(event_types) > 0),
  -- Minimum seconds between two progress events of a job.
  progress_seconds integer not null default 60 check (progress_seconds between 1 and 86400),
  enabled boolean not null default true,
  disabled_reason text,
  disabled_at timestamptz,
  -- The signing secret is derived from the master key, this id and the version. No secret is stored.
  secret_version integer not null default 1 check (secret_version >= 1),
  -- Until then the previous version signs, too.
  old_secret_until timestamptz,
  rotated_at timestamptz,
  -- Counts updates, for If-Match.
  version integer not null default 1,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  check (enabled = (disabled_at is null))
);
create index webhook_endpoints_project on tunebase.webhook_endpoints (project_id, id desc);
-- Every report checks whether an endpoint subscribes to progress; usually none does, and this index answers quickly.
create index webhook_endpoints_progress on tunebase.webhook_endpoints (project_id)
where enabled and 'fine_tuning.job.progress' = any (event_types);

alter table tunebase.webhook_endpoints enable row level security;
create policy members_read on tunebase.webhook_endpoints for select to authenticated
using (project_id in (select tunebase_internal.member_project_ids()));

comment on table tunebase.webhook_endpoints is 'Webhook endpoints of a project.';

-- schemas/tables/notification_channels.sql
create table tunebase.notification_channels (
  id uuid primary key default tunebase_internal.uuid7(),
  project_id uuid not null references tunebase.projects on delete cascade,
  kind text not null check (kind = any (tunebase_internal.channel_kinds())),
  -- An email address, or a hint of Slack's webhook URL, which is a secret.
  target text not null check (char_length(target) between 1 and 320),
  event_types text[] not null check (event_types <@ tunebase_internal.event_types() and cardinality(event_types) > 0),
  enabled boolean not null default true,
  disabled_reason text,
  disabled_at timestamptz,
  -- Counts updates, for If-Match.
  version integer not null default 1,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  check (enabled = (disabled_at is null))
);
create index notification_channels_project on tunebase.notification_channels (project_id, id desc);

alter table tunebase.notification_channels enable row level security;
create policy members_read on tunebase.notification_channels for select to authenticated
using (project_id in (select tunebase_internal.member_project_ids()));

comment on table tunebase.notification_channels is 'Email and Slack channels of a project.';

-- schemas/tables/channel_secrets.sql
create table tunebase_internal.channel_secrets (
  channel_id uuid primary key references tunebase.notification_channels on delete cascade,
  encrypted_url text not null
);

alter table tunebase_internal.channel_secrets enable row level security;

comment on table tunebase_internal.channel_secrets is 'Slack webhook URLs, encrypted with a key derived from the master key.';

-- schemas/tables/email_counts.sql
-- Emails per address and hour, to protect the address and the operator's domain. By address instead of by channel, because a
-- channel can be deleted and created again.
create table tunebase_internal.email_counts (
  address text not null,
  hour timestamptz not null,
  mails integer not null default 0,
  tests integer not null default 0,
  primary key (address, hour)
);

alter table tunebase_internal.email_counts enable row level security;

comment on table tunebase_internal.email_counts is 'The number of emails per address and hour.';

-- schemas/tables/failing_subscribers.sql
create table tunebase_internal.failing_subscribers (
  target_id uuid primary key,
  failing_since timestamptz not null,
  last_failed_at timestamptz not null
);

alter table tunebase_internal.failing_subscribers enable row level security;

comment on table tunebase_internal.failing_subscribers is 'Receivers (endpoints and channels) that are currently failing.';

-- schemas/tables/outbox.sql
create table tunebase_internal.outbox (
  -- The event's public id is `evt_` followed by this.
  id uuid primary key default tunebase_internal.uuid7(),
  project_id uuid not null references tunebase.projects on delete cascade,
  job_id uuid references tunebase.jobs on delete cascade,
  type text not null check (type = any (tunebase_internal.event_types())),
  -- The `data` of the event's body, fixed at the time of the change.
  data jsonb not null,
  created_at timestamptz not null default now(),
  -- Later only after a failed fan-out.
  due_at timestamptz not null default now(),
  fanned_out_at timestamptz
);
create index outbox_due on tunebase_internal.outbox (due_at) where fanned_out_at is null;
create index outbox_done on tunebase_internal.outbox (fanned_out_at) where fanned_out_at is not null;
create index outbox_project on tunebase_internal.outbox (project_id);
create index outbox_job on tunebase_internal.outbox (job_id, type, created_at);

alter table tunebase_internal.outbox enable row level security;

comment on table tunebase_internal.outbox is 'Events to deliver. Triggers write them in the transaction of the change.';

-- schemas/tables/trigger_failures.sql
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

comment on table tunebase_internal.trigger_failures is 'What a trigger could not do. One row per failure: a counter would serialize transactions.';

-- schemas/tables/webhook_deliveries.sql
create table tunebase.webhook_deliveries (
  id uuid primary key default tunebase_internal.uuid7(),
  project_id uuid not null references tunebase.projects on delete cascade,
  -- The webhook-id of every attempt, so that receivers can deduplicate.
  event_id uuid not null,
  event_type text not null,
  event_created_at timestamptz not null,
  job_id uuid references tunebase.jobs on delete cascade,
  channel text not null check (channel = 'webhook' or channel = any (tunebase_internal.channel_kinds())),
  endpoint_id uuid references tunebase.webhook_endpoints on delete cascade,
  channel_id uuid references tunebase.notification_channels on delete cascade,
  target_id uuid generated always as (coalesce(endpoint_id, channel_id)) stored,
  -- The exact body that is sent; for email and Slack, the data it is rendered from.
  body text not null,
  status text not null default 'pending' check (status in ('pending', 'delivered', 'dead')),
  -- Why the delivery is dead.
  reason text,
  -- Attempts so far in the schedule of webhook_retry_delay; a replay resets it.
  tries integer not null default 0,
  next_at timestamptz default now(),
  -- Incremented by every claim, to detect late results.
  lease integer not null default 0,
  leased_until timestamptz,
  -- The result of the last attempt.
  response_status integer,
  error text,
  duration_ms integer,
  last_tried_at timestamptz,
  delivered_at timestamptz,
  created_at timestamptz not null default now(),

  unique (event_id, endpoint_id),
  unique (event_id, channel_id),
  check (num_nonnulls(endpoint_id, channel_id) = 1),
  check ((channel = 'webhook') = (endpoint_id is not null)),
  check ((status = 'pending') = (next_at is not null)),
  check ((status = 'dead') = (reason is not null)),
  check ((status = 'delivered') = (delivered_at is not null))
);
create index webhook_deliveries_due on tunebase.webhook_deliveries (target_id, next_at) where status = 'pending';
-- Deliveries on their last attempt: claim_deliveries ends those whose scheduler died during it.
create index webhook_deliveries_spent on tunebase.webhook_deliveries (next_at) where status = 'pending' and tries >= 10;
create index webhook_deliveries_project on tunebase.webhook_deliveries (project_id, id desc);
create index webhook_deliveries_endpoint on tunebase.webhook_deliveries (endpoint_id, id desc);
create index webhook_deliveries_channel on tunebase.webhook_deliveries (channel_id) where channel_id is not null;
create index webhook_deliveries_job on tunebase.webhook_deliveries (job_id, endpoint_id, event_created_at);
-- For get_installation_metrics.
create index webhook_deliveries_dead on tunebase.webhook_deliveries (created_at) where status = 'dead';
create index webhook_deliveries_old on tunebase.webhook_deliveries (created_at) where status <> 'pending';

alter table tunebase.webhook_deliveries enable row level security;
create policy members_read on tunebase.webhook_deliveries for select to authenticated
using (project_id in (select tunebase_internal.member_project_ids()));

comment on table tunebase.webhook_deliveries is 'One event to one receiver.';

-- schemas/tables/webhook_attempts.sql
create table tunebase.webhook_attempts (
  id uuid primary key default tunebase_internal.uuid7(),
  delivery_id uuid not null references tunebase.webhook_deliveries on delete cascade,
  project_id uuid not null references tunebase.projects on delete cascade,
  url text not null,
  -- Without signatures and keys.
  request_headers jsonb not null,
  response_status integer,
  -- The first 4 KiB.
  response_body text,
  -- Why there was no response.
  error text,
  duration_ms integer not null,
  created_at timestamptz not null default now()
);
create index webhook_attempts_delivery on tunebase.webhook_attempts (delivery_id, id);
create index webhook_attempts_project on tunebase.webhook_attempts (project_id);

alter table tunebase.webhook_attempts enable row level security;
create policy members_read on tunebase.webhook_attempts for select to authenticated
using (project_id in (select tunebase_internal.member_project_ids()));

comment on table tunebase.webhook_attempts is 'The delivery log: one row per attempt.';

-- schemas/tables/notifications.sql
create table tunebase.notifications (
  id uuid primary key default tunebase_internal.uuid7(),
  project_id uuid not null references tunebase.projects on delete cascade,
  event_id uuid not null unique,
  type text not null,
  level text not null check (level in ('info', 'warn', 'error')),
  title text not null,
  text text not null,
  job_id uuid references tunebase.jobs on delete cascade,
  created_at timestamptz not null default now()
);
create index notifications_project on tunebase.notifications (project_id, id desc);
create index notifications_job on tunebase.notifications (job_id);

alter table tunebase.notifications enable row level security;
create policy members_read on tunebase.notifications for select to authenticated
using (project_id in (select tunebase_internal.member_project_ids()));

comment on table tunebase.notifications is 'In-app notifications of a project.';

-- schemas/tables/notification_reads.sql
create table tunebase.notification_reads (
  notification_id uuid not null references tunebase.notifications on delete cascade,
  user_id uuid not null references auth.users on delete cascade,
  read_at timestamptz not null default now(),
  primary key (notification_id, user_id)
);
create index notification_reads_user on tunebase.notification_reads (user_id);

alter table tunebase.notification_reads enable row level security;
-- Only the user can see what they have read.
create policy own_read on tunebase.notification_reads for select to authenticated
using (user_id = (select auth.uid()));

comment on table tunebase.notification_reads is 'Which user has read which notification.';

-- schemas/tables/alerts.sql
create table tunebase_internal.alerts (
  kind text not null,
  subject text not null,
  message text not null,
  occurrences integer not null default 1,
  first_at timestamptz not null default now(),
  last_at timestamptz not null default now(),
  primary key (kind, subject)
);

alter table tunebase_internal.alerts enable row level security;

comment on table tunebase_internal.alerts is 'Alerts for the operator, deduplicated by kind and subject.';

-- schemas/tables/scheduler_ticks.sql
create unlogged table tunebase_internal.scheduler_ticks (
  one_row boolean primary key default true check (one_row),
  ticks bigint not null,
  seconds double precision not null,
  last_tick_at timestamptz not null
);

alter table tunebase_internal.scheduler_ticks enable row level security;

comment on table tunebase_internal.scheduler_ticks is 'Finished ticks, for monitoring: one row. Unlogged: a crash resets the counters, which Prometheus expects.';

-- schemas/functions/api_keys/create_api_key.sql
-- Stores an API key that the API has generated. p_key: {name, scopes, expires_at, hint}.
create function tunebase_internal.create_api_key(p_caller jsonb, p_key jsonb, p_hash text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'project:admin');
begin
  return to_jsonb(tunebase_internal.insert_api_key(
    v_project_id, p_key || jsonb_build_object('created_by', p_caller ->> 'user_id'), decode(p_hash, 'hex')
  ));
end $$;

-- schemas/functions/api_keys/get_api_key.sql
create function tunebase_internal.get_api_key(p_caller jsonb, p_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'project:read');
  v_key tunebase.api_keys;
begin
  select * into v_key from tunebase.api_keys where id = p_id and project_id = v_project_id;
  if not found then
    perform tunebase_internal.raise_api_error('api_key_not_found');
  end if;
  return to_jsonb(v_key);
end $$;

-- schemas/functions/api_keys/insert_api_key.sql
-- Stores an API key's SHA-256. p_key: {name, scopes, expires_at, hint, created_by}. Raises quota_exceeded at 100 active keys.
create function tunebase_internal.insert_api_key(p_project_id uuid, p_key jsonb, p_hash bytea) returns tunebase.api_keys
language plpgsql set search_path = ''
as $$
declare
  v_key tunebase.api_keys;
  v_used integer;
begin
  perform from tunebase.projects where id = p_project_id for no key update;
  select count(*) into v_used from tunebase.api_keys where project_id = p_project_id and revoked_at is null;
  if v_used >= 100 then
    perform tunebase_internal.raise_api_error('quota_exceeded', jsonb_build_object(
      'what', 'API keys per project', 'limit', 100, 'used', v_used, 'fix', 'Revoke one and try again.'
    ));
  end if;
  insert into tunebase.api_keys (project_id, name, scopes, hint, expires_at, created_by)
  values (
    p_project_id, p_key ->> 'name', array(select jsonb_array_elements_text(p_key -> 'scopes')), p_key ->> 'hint',
    (p_key ->> 'expires_at')::timestamptz, (p_key ->> 'created_by')::uuid
  )
  returning * into v_key;
  insert into tunebase_internal.api_key_hashes (hash, api_key_id) values (p_hash, v_key.id);
  return v_key;
end $$;

-- schemas/functions/api_keys/list_api_keys.sql
-- The project's API keys, newest first, including revoked ones.
create function tunebase_internal.list_api_keys(p_caller jsonb, p_after uuid, p_limit integer) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'project:read');
  v_rows jsonb;
begin
  if p_after is not null and not exists (select from tunebase.api_keys where id = p_after and project_id = v_project_id) then
    perform tunebase_internal.raise_api_error('cursor_not_found');
  end if;
  select jsonb_agg(to_jsonb(k) order by k.id desc) into v_rows from (
    select * from tunebase.api_keys
    where project_id = v_project_id and (p_after is null or id < p_after)
    order by id desc limit p_limit + 1
  ) k;
  return tunebase_internal.paginate(v_rows, p_limit);
end $$;

-- schemas/functions/api_keys/revoke_api_key.sql
-- Revokes an API key. Its row stays as a record. Idempotent.
create function tunebase_internal.revoke_api_key(p_caller jsonb, p_id uuid) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'project:admin');
  v_version integer;
begin
  select version into v_version from tunebase.api_keys where id = p_id and project_id = v_project_id for no key update;
  if not found then
    perform tunebase_internal.raise_api_error('api_key_not_found');
  end if;
  perform tunebase_internal.require_version(p_caller, v_version);
  update tunebase.api_keys set revoked_at = now(), version = version + 1 where id = p_id and revoked_at is null;
  delete from tunebase_internal.api_key_hashes where api_key_id = p_id;
end $$;

-- schemas/functions/api_keys/update_api_key.sql
-- p_changes: any of {name, scopes, expires_at}; absent fields keep their value, and a null expires_at removes the expiry.
create function tunebase_internal.update_api_key(p_caller jsonb, p_id uuid, p_changes jsonb) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'project:admin');
  v_key tunebase.api_keys;
begin
  select * into v_key from tunebase.api_keys where id = p_id and project_id = v_project_id for update;
  if not found then
    perform tunebase_internal.raise_api_error('api_key_not_found');
  elsif v_key.revoked_at is not null then
    perform tunebase_internal.raise_api_error('api_key_revoked');
  end if;
  perform tunebase_internal.require_version(p_caller, v_key.version);
  update tunebase.api_keys
  set version = version + 1,
    name = coalesce(p_changes ->> 'name', name),
    scopes = case when p_changes ? 'scopes' then array(select jsonb_array_elements_text(p_changes -> 'scopes')) else scopes end,
    expires_at = case when p_changes ? 'expires_at' then (p_changes ->> 'expires_at')::timestamptz else expires_at end
  where id = p_id
  returning * into v_key;
  return to_jsonb(v_key);
end $$;

-- schemas/functions/callbacks/add_checkpoint.sql
-- Records a checkpoint whose files are all verified. Keeps the three newest of a job and deletes the files of older ones. A
-- checkpoint is progress, so it resets failed_attempts.
create function tunebase_internal.add_checkpoint(p_attempt tunebase.attempts, p_checkpoint jsonb) returns void
language plpgsql set search_path = ''
as $$
begin
  if tunebase_internal.unverified_files(p_attempt.id, p_checkpoint -> 'files') is not null then
    perform tunebase_internal.add_event(p_attempt.job_id, 'warn', format(
      'Checkpoint step %s was discarded because its files are incomplete in Storage.', p_checkpoint ->> 'step'
    ));
    return;
  end if;
  insert into tunebase.checkpoints (job_id, project_id, attempt_id, step, metrics, files)
  values (
    p_attempt.job_id, p_attempt.project_id, p_attempt.id, (p_checkpoint ->> 'step')::integer,
    jsonb_strip_nulls(p_checkpoint - 'files'), p_checkpoint -> 'files'
  )
  on conflict (job_id, step, attempt_id) do nothing;
  if not found then
    return;
  end if;
  update tunebase.jobs set failed_attempts = 0 where id = p_attempt.job_id;
  perform tunebase_internal.add_event(
    p_attempt.job_id, 'info', format('Saved checkpoint step %s.', p_checkpoint ->> 'step')
  );
  with old as (
    delete from tunebase.checkpoints where id in (
      select id from tunebase.checkpoints where job_id = p_attempt.job_id order by step desc, id desc offset 3
    )
    returning attempt_id, files
  )
  insert into tunebase_internal.orphaned_objects (bucket, object)
  select 'tunebase-adapters', tunebase_internal.artifact_prefix(old.attempt_id) || '/' || (f ->> 'path')
  from old, jsonb_array_elements(old.files) f
  on conflict do nothing;
end $$;

-- schemas/functions/callbacks/claim_attempt.sql
-- The first worker gets the attempt. Another worker is rejected until the lease expires, and then takes over with the next
-- fencing token. The same worker gets the same token again if the response was lost. The holder resumes from the job's
-- newest checkpoint. p_claim_id is the call's webhook-id: a proxy or a retry can deliver a call twice, and a late copy must
-- neither take the attempt from its holder nor give it to a worker that is gone.
create function tunebase_internal.claim_attempt(
  p_attempt_id uuid, p_worker_id text, p_runpod_job_id text, p_lease_seconds integer, p_claim_id text default null
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_attempt tunebase.attempts := tunebase_internal.lock_attempt(p_attempt_id);
  v_job tunebase.jobs;
  v_repeated boolean := coalesce(p_claim_id = any (v_attempt.claim_request_ids), false);
begin
  if v_attempt.id is null or v_attempt.state = 'ended' then
    return jsonb_build_object('claimed', false, 'reason', 'ended', 'detail', 'the attempt has ended');
  end if;
  -- A repeated claim is answered again only if it is the holder's.
  if v_repeated and (
    v_attempt.state <> 'running' or v_attempt.worker_id <> p_worker_id
    or p_claim_id <> v_attempt.claim_request_ids[cardinality(v_attempt.claim_request_ids)]
  ) then
    return jsonb_build_object('claimed', false, 'reason', 'held', 'detail', 'this claim was already answered');
  end if;
  select * into strict v_job from tunebase.jobs where id = v_attempt.job_id;
  if v_attempt.state = 'running' and v_attempt.worker_id <> p_worker_id and v_attempt.lease_until > now() then
    update tunebase.attempts set claim_request_ids = p_claim_id || claim_request_ids where id = p_attempt_id and p_claim_id is not null;
    return jsonb_build_object('claimed', false, 'reason', 'held', 'detail', 'another worker holds the attempt');
  end if;
  -- An attempt with a cancel or pause request ends here, before it uses GPU time. Not on a repeated claim: its worker may be
  -- training, and gets the directive in its next reply.
  if v_repeated then
    null;
  elsif v_attempt.cancel_requested then
    perform tunebase_internal.end_attempt(p_attempt_id, 'cancelled');
    return jsonb_build_object('claimed', false, 'reason', 'ended', 'detail', 'the attempt was cancelled');
  elsif v_job.pause_requested then
    perform tunebase_internal.end_attempt(p_attempt_id, 'paused');
    return jsonb_build_object('claimed', false, 'reason', 'ended', 'detail', 'the job is paused');
  end if;

  update tunebase.attempts
  set state = 'running', worker_id = p_worker_id,
    claim_request_ids = case when v_repeated or p_claim_id is null then claim_request_ids else claim_request_ids || p_claim_id end,
    -- The same worker, before its first report: the response to its claim was lost.
    fence = case
      when v_repeated or (state = 'running' and worker_id = p_worker_id and last_sequence = 0) then fence else fence + 1
    end,
    last_sequence = case when v_repeated then last_sequence else 0 end,
    runpod_job_id = coalesce(runpod_job_id, p_runpod_job_id),
    submitted_at = coalesce(submitted_at, now()),
    started_at = coalesce(started_at, now()),
    lease_until = case
      when v_repeated and last_sequence > 0 then lease_until else now() + make_interval(secs => p_lease_seconds)
    end,
    reconcile_at = now() + make_interval(secs => p_lease_seconds)
  where id = p_attempt_id
  returning * into v_attempt;
  if v_job.status = 'queued' then
    update tunebase.jobs
    set status = 'running', stage = 'setup', due_at = null, status_reason = null, started_at = coalesce(started_at, now())
    where id = v_job.id;
    perform tunebase_internal.add_event(v_job.id, 'info', case
      when v_job.started_at is null then 'Fine-tuning job started.' else format('Attempt %s started.', v_attempt.number)
    end);
  end if;
  return tunebase_internal.claim_reply(v_job, v_attempt.fence);
end $$;

-- schemas/functions/callbacks/claim_reply.sql
-- What the holder of an attempt needs for training: its fencing token, its files, and what to resume or start from.
create function tunebase_internal.claim_reply(p_job tunebase.jobs, p_fence integer) returns jsonb
language plpgsql stable set search_path = ''
as $$
declare
  v_checkpoint tunebase.checkpoints;
  v_training tunebase.files;
  v_validation tunebase.files;
begin
  select * into v_checkpoint from tunebase.checkpoints where job_id = p_job.id order by step desc, id desc limit 1;
  select * into v_training from tunebase.files where id = p_job.training_file;
  select * into v_validation from tunebase.files where id = p_job.validation_file;
  return jsonb_build_object(
    'claimed', true, 'fence', p_fence,
    'training_object', v_training.object, 'training_sha256', v_training.sha256,
    'validation_object', v_validation.object, 'validation_sha256', v_validation.sha256,
    'resume', case when v_checkpoint.id is not null then jsonb_build_object(
      'step', v_checkpoint.step, 'files', v_checkpoint.files,
      'prefix', tunebase_internal.artifact_prefix(v_checkpoint.attempt_id)
    ) end,
    -- The fine-tuned model that training continues from.
    'start_from', (
      select jsonb_build_object('files', manifest -> 'files', 'prefix', prefix)
      from tunebase.adapters where name = p_job.parent_model
    )
  );
end $$;

-- schemas/functions/callbacks/finish_attempt.sql
-- The worker's final callback. p_fault is the class of its error_code. A repeated call returns the same result.
create function tunebase_internal.finish_attempt(p_attempt_id uuid, p_finish jsonb, p_fault text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_attempt tunebase.attempts := tunebase_internal.lock_attempt(p_attempt_id);
  v_directive text := tunebase_internal.worker_directive(v_attempt, p_finish ->> 'worker_id', (p_finish ->> 'fence')::integer);
  v_detail text;
begin
  if v_directive = 'stop' then
    update tunebase.attempts set rejected_callbacks = rejected_callbacks + 1 where id = p_attempt_id;
    return jsonb_build_object(
      'accepted', v_attempt.id is not null and v_attempt.outcome = p_finish ->> 'outcome'
        and v_attempt.fence = (p_finish ->> 'fence')::integer,
      'detail', 'the attempt has ended, or another worker holds it'
    );
  end if;

  case p_finish ->> 'outcome'
    when 'succeeded' then
      v_detail := tunebase_internal.complete_attempt(p_attempt_id, p_finish -> 'manifest', p_finish ->> 'hub_url');
      return jsonb_build_object('accepted', v_detail is null, 'detail', v_detail);
    when 'failed' then
      perform tunebase_internal.end_attempt(
        p_attempt_id, 'failed', p_fault,
        p_finish ->> 'error_code', p_finish ->> 'error_message', p_finish ->> 'hint'
      );
    when 'paused' then
      perform tunebase_internal.end_attempt(p_attempt_id, case when v_directive = 'cancel' then 'cancelled' else 'paused' end);
    when 'preempted' then
      perform tunebase_internal.end_attempt(
        p_attempt_id, 'preempted', 'infrastructure', 'preempted', p_finish ->> 'reason', 'Create the job again.'
      );
    else
      if v_directive = 'cancel' then
        perform tunebase_internal.end_attempt(p_attempt_id, 'cancelled');
      else
        -- Cancelled by RunPod's time limit or console. Reconcile it: /status says which.
        update tunebase.attempts set lease_until = now(), reconcile_at = now() where id = p_attempt_id;
      end if;
  end case;
  return jsonb_build_object('accepted', true, 'detail', null);
end $$;

-- schemas/functions/callbacks/get_worker_directive.sql
-- A worker's directive, and the prefix of its attempt's files.
create function tunebase_internal.get_worker_directive(p_attempt_id uuid, p_worker_id text, p_fence integer) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_attempt tunebase.attempts;
begin
  select * into v_attempt from tunebase.attempts where id = p_attempt_id;
  return jsonb_build_object(
    'directive', tunebase_internal.worker_directive(v_attempt, p_worker_id, p_fence),
    'prefix', tunebase_internal.artifact_prefix(p_attempt_id)
  );
end $$;

-- schemas/functions/callbacks/invalidate_verified_file.sql
-- Unmarks a verified file that turned out to be invalid, so that the caller can delete it. Returns false if the attempt has
-- ended or the fencing token is stale: then the caller must not touch the file.
create function tunebase_internal.invalidate_verified_file(p_attempt_id uuid, p_fence integer, p_path text) returns boolean
language plpgsql security definer set search_path = ''
as $$
declare
  v_attempt tunebase.attempts := tunebase_internal.lock_attempt(p_attempt_id);
begin
  if v_attempt.id is null or v_attempt.state = 'ended' or v_attempt.fence <> p_fence then
    return false;
  end if;
  delete from tunebase_internal.verified_files where attempt_id = p_attempt_id and path = p_path;
  return true;
end $$;

-- schemas/functions/callbacks/record_progress.sql
-- Records a report: extends the lease, raises progress (it never falls), adds metrics and log lines. A report with a stale
-- fencing token, of an ended attempt, or with an old sequence only increments a counter.
--
-- Writes each row once: updating a row that this transaction has written checks the row's foreign keys again. With three
-- updates of the job and two of the attempt, a report took twice as long.
create function tunebase_internal.record_progress(p_attempt_id uuid, p_report jsonb, p_lease_seconds integer) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_attempt tunebase.attempts := tunebase_internal.lock_attempt(p_attempt_id);
  v_directive text := tunebase_internal.worker_directive(v_attempt, p_report ->> 'worker_id', (p_report ->> 'fence')::integer);
  v_last jsonb;
  v_reply jsonb;
begin
  if v_directive = 'stop' or (p_report ->> 'sequence')::integer <= v_attempt.last_sequence then
    update tunebase.attempts set rejected_callbacks = rejected_callbacks + 1 where id = p_attempt_id;
    return jsonb_build_object('directive', v_directive, 'lease_until', case
      when v_directive <> 'stop' then floor(extract(epoch from v_attempt.lease_until))
    end);
  end if;
  update tunebase.attempts a
  set last_sequence = (p_report ->> 'sequence')::integer, last_report_at = now(),
    lease_until = now() + make_interval(secs => p_lease_seconds),
    reconcile_at = least(reconcile_at, now() + make_interval(secs => p_lease_seconds)), missed_heartbeats = 0,
    cost_usd = tunebase_internal.attempt_cost(a)
  where id = p_attempt_id
  returning * into v_attempt;
  v_reply := jsonb_build_object('directive', v_directive, 'lease_until', floor(extract(epoch from v_attempt.lease_until)));
  if v_directive = 'cancel' then
    perform tunebase_internal.update_attempt_cost(p_attempt_id);
    return v_reply;
  end if;

  v_last := p_report -> 'metrics' -> -1;
  with written as (
    insert into tunebase.metrics as m (
      job_id, step, project_id, attempt, epoch, training_loss, validation_loss, learning_rate, gradient_norm,
      tokens_per_second, gpu_utilization, gpu_memory_gb
    )
    select v_attempt.job_id, r.step, v_attempt.project_id, v_attempt.number, r.epoch, r.training_loss, r.validation_loss,
      r.learning_rate, r.gradient_norm, r.tokens_per_second, r.gpu_utilization, r.gpu_memory_gb
    from (
      -- One row per step, even if a report has two.
      select distinct on (x.step) x.*
      from jsonb_to_recordset(p_report -> 'metrics') as x (
        step integer, epoch double precision, training_loss double precision, validation_loss double precision,
        learning_rate double precision, gradient_norm double precision, tokens_per_second double precision,
        gpu_utilization double precision, gpu_memory_gb double precision
      )
      order by x.step
    ) r
    -- A later attempt that repeats a step replaces its metrics; the same attempt does not.
    on conflict (job_id, step) do update
    set attempt = excluded.attempt, epoch = excluded.epoch, training_loss = excluded.training_loss,
      validation_loss = excluded.validation_loss, learning_rate = excluded.learning_rate,
      gradient_norm = excluded.gradient_norm, tokens_per_second = excluded.tokens_per_second,
      gpu_utilization = excluded.gpu_utilization, gpu_memory_gb = excluded.gpu_memory_gb, created_at = now()
    where m.attempt < excluded.attempt
    returning m.*
  ), moved as (
    update tunebase.jobs j
    set stage = p_report ->> 'stage',
      -- 100 means that the files are verified.
      progress = greatest(progress, least((p_report ->> 'progress')::real, 99)),
      current_epoch = (p_report ->> 'current_epoch')::real,
      total_epochs = coalesce((p_report ->> 'total_epochs')::real, total_epochs),
      current_step = (p_report ->> 'current_step')::integer,
      total_steps = coalesce((p_report ->> 'total_steps')::integer, total_steps),
      trained_tokens = greatest(trained_tokens, (p_report ->> 'trained_tokens')::bigint),
      tokens_per_second = coalesce((v_last ->> 'tokens_per_second')::real, tokens_per_second),
      training_loss = coalesce((v_last ->> 'training_loss')::double precision, training_loss),
      estimated_finish = now() + make_interval(secs => (p_report ->> 'seconds_left')::double precision),
      cost_usd = (select sum(a.cost_usd) from tunebase.attempts a where a.job_id = j.id),
      last_event = last_event + jsonb_array_length(p_report -> 'events') + (select count(*) from written)
    where id = v_attempt.job_id
    returning j.id, j.project_id, j.total_steps, j.progress,
      j.last_event - jsonb_array_length(p_report -> 'events') - (select count(*) from written) as event_before
  )
  insert into tunebase.events (job_id, project_id, number, level, type, message, data)
  select m.id, m.project_id, m.event_before + e.ordinality, e.value ->> 'level', 'message', e.value ->> 'message', null
  from moved m, jsonb_array_elements(p_report -> 'events') with ordinality e
  union all
  select m.id, m.project_id,
    m.event_before + jsonb_array_length(p_report -> 'events') + row_number() over (order by w.step), 'info', 'metrics',
    format('Step %s%s: training loss=%s', w.step, '/' || m.total_steps, round(w.training_loss::numeric, 4)),
    to_jsonb(w) - 'job_id' - 'project_id' - 'created_at'
      || jsonb_build_object('total_steps', m.total_steps, 'progress', m.progress)
  from moved m, written w;
  perform tunebase_internal.add_checkpoint(v_attempt, c) from jsonb_array_elements(p_report -> 'checkpoints') c;
  return v_reply;
end $$;

-- schemas/functions/callbacks/record_verified_file.sql
-- A file of the attempt was read back from Storage with this size and hash.
create function tunebase_internal.record_verified_file(p_attempt_id uuid, p_worker_id text, p_fence integer, p_file jsonb) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_attempt tunebase.attempts := tunebase_internal.lock_attempt(p_attempt_id);
  v_directive text := tunebase_internal.worker_directive(v_attempt, p_worker_id, p_fence);
begin
  if v_directive <> 'stop' then
    insert into tunebase_internal.verified_files (attempt_id, path, bytes, sha256)
    values (p_attempt_id, p_file ->> 'path', (p_file ->> 'bytes')::bigint, p_file ->> 'sha256')
    on conflict (attempt_id, path) do update
    set bytes = excluded.bytes, sha256 = excluded.sha256, verified_at = now();
  end if;
  return jsonb_build_object('directive', v_directive);
end $$;

-- schemas/functions/callbacks/worker_directive.sql
-- The directive for the holder of an attempt; `stop` for any other worker. Call it with the attempt locked. plpgsql, because
-- it caches its plan: as language sql it took 0.2 ms.
create function tunebase_internal.worker_directive(p_attempt tunebase.attempts, p_worker_id text, p_fence integer) returns text
language plpgsql stable set search_path = ''
as $$
declare
  v_status text;
  v_pause_requested boolean;
begin
  if p_attempt.id is null or p_attempt.state <> 'running' or p_attempt.fence <> p_fence
    or p_attempt.worker_id <> p_worker_id then
    return 'stop';
  end if;
  select status, pause_requested into v_status, v_pause_requested from tunebase.jobs where id = p_attempt.job_id;
  return case
    when p_attempt.cancel_requested or tunebase_internal.is_terminal(v_status) then 'cancel'
    when v_pause_requested then 'pause'
    else 'continue'
  end;
end $$;

-- schemas/functions/dispatch/claim_dispatch.sql
-- Claims up to p_limit due jobs and creates their attempts before any call to RunPod, so that a crash in between is detected.
-- Respects the limits of projects and endpoints. Projects with the fewest live attempts come first, so that 10,000 jobs of
-- one project do not block a job of another. Jobs that their caps do not cover are failed or postponed
-- (settle_unaffordable), and an attempt's execution timeout is limited to its share of the budget. Returns
-- {claimed: [...], wait_seconds}; wait_seconds: when an endpoint's rate limit allows the next call; null if it blocks none.
--
-- One claim at a time (advisory lock), because limits are counted. In batches, because counting is the expensive part.
create function tunebase_internal.claim_dispatch(p_default_endpoint text, p_lease_seconds integer, p_limit integer) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_chosen uuid[];
  v_affordable uuid[];
  v_max_seconds integer[];
  v_claimed jsonb;
  v_wait double precision;
begin
  perform pg_advisory_xact_lock(hashtext('tunebase_internal.claim_dispatch'));
  if not exists (
    select from tunebase.jobs where status = 'queued' and due_at <= now() and due_at < 'infinity'
  ) then
    return jsonb_build_object('claimed', '[]'::jsonb, 'wait_seconds', null);
  end if;
  insert into tunebase_internal.runpod_endpoints (endpoint_id)
  select distinct coalesce(endpoint_id, p_default_endpoint) from tunebase.base_models
  on conflict do nothing;
  -- Refill the token bucket, up to one second's calls.
  update tunebase_internal.runpod_endpoints
  set calls_left = least(greatest(run_per_second, 1), calls_left + extract(epoch from now() - counted_at) * run_per_second),
    counted_at = now()
  where counted_at < now();

  -- Every (project, model) with a queued job, by a loose index scan: the cost depends on the number of pairs, not of jobs.
  with recursive lines as (
    (
      select project_id, base_model from tunebase.jobs
      where status = 'queued' and due_at < 'infinity'
      order by project_id, base_model limit 1
    )
    union all
    select n.project_id, n.base_model
    from lines l
    cross join lateral (
      select project_id, base_model from tunebase.jobs
      where status = 'queued' and due_at < 'infinity' and (project_id, base_model) > (l.project_id, l.base_model)
      order by project_id, base_model limit 1
    ) n
  ), alive as materialized (
    -- Counted once, with an index-only scan.
    select project_id, endpoint_id, count(*) as attempts
    from tunebase.attempts where state <> 'ended' group by project_id, endpoint_id
  ), of_project as (
    select project_id, sum(attempts) as alive from alive group by project_id
  ), of_endpoint as (
    select endpoint_id, sum(attempts) as alive from alive group by endpoint_id
  ), heads as (
    select j.id, j.due_at, e.endpoint_id,
      coalesce(op.alive, 0) + row_number() over (partition by l.project_id order by j.due_at, j.id) as turn,
      p.max_running, floor(e.calls_left) as calls_left, e.max_running - coalesce(oe.alive, 0) as room
    from lines l
    join tunebase.projects p on p.id = l.project_id
    join tunebase.base_models m on m.id = l.base_model
    join tunebase_internal.runpod_endpoints e on e.endpoint_id = coalesce(m.endpoint_id, p_default_endpoint)
    left join of_project op on op.project_id = l.project_id
    left join of_endpoint oe on oe.endpoint_id = e.endpoint_id
    cross join lateral (
      select id, due_at from tunebase.jobs
      where status = 'queued' and due_at <= now() and due_at < 'infinity'
        and project_id = l.project_id and base_model = l.base_model
      order by due_at limit p_limit
    ) j
    where coalesce(e.blocked_until, '-infinity') <= now()
  ), ranked as (
    select *, row_number() over (partition by endpoint_id order by turn, due_at, id) as place
    from heads where turn <= max_running
  ), allowed as (
    select *, row_number() over (order by turn, due_at, id) as overall
    from ranked where place <= coalesce(room, place)
  )
  select array_agg(id order by overall) filter (where place <= calls_left and overall <= p_limit),
    min((place - calls_left) / greatest((select run_per_second from tunebase_internal.runpod_endpoints x where x.endpoint_id = a.endpoint_id), 0.001))
      filter (where place = calls_left + 1)
  into v_chosen, v_wait
  from allowed a;

  -- A client may have cancelled or paused a job. Locked rows are left to the next claim.
  select array_agg(x.id order by array_position(v_chosen, x.id)) into v_chosen from (
    select id from tunebase.jobs
    where id = any (v_chosen) and status = 'queued' and due_at <= now()
    for no key update skip locked
  ) x;
  select array_agg(job_id order by place), array_agg(max_seconds order by place) into v_affordable, v_max_seconds
  from tunebase_internal.settle_unaffordable(coalesce(v_chosen, '{}')) with ordinality s (job_id, max_seconds, place);

  with taken as (
    select j.*, x.max_seconds from unnest(v_affordable, v_max_seconds) x (id, max_seconds)
    join tunebase.jobs j on j.id = x.id
  ), out as (
    update tunebase.jobs j set due_at = 'infinity', status_reason = null where j.id = any (v_affordable)
  ), made as (
    insert into tunebase.attempts (
      job_id, project_id, number, state, endpoint_id, gpu_config, execution_timeout_seconds, ttl_seconds,
      claim_deadline, lease_until, reconcile_at
    )
    select t.id, t.project_id, (select coalesce(max(number), 0) + 1 from tunebase.attempts where job_id = t.id),
      'submitting', coalesce(m.endpoint_id, p_default_endpoint), m.gpu_config,
      least(m.execution_timeout_seconds, t.max_seconds),
      m.queue_timeout_seconds + least(m.execution_timeout_seconds, t.max_seconds), now() + make_interval(secs => m.queue_timeout_seconds),
      now() + make_interval(secs => p_lease_seconds), now() + make_interval(secs => p_lease_seconds)
    from taken t join tunebase.base_models m on m.id = t.base_model
    returning *
  ), counted as (
    update tunebase_internal.runpod_endpoints e set calls_left = e.calls_left - used.calls
    from (select endpoint_id, count(*) as calls from made group by endpoint_id) used
    where e.endpoint_id = used.endpoint_id
  )
  select jsonb_agg(jsonb_build_object(
    'attempt', to_jsonb(made), 'plan', t.plan,
    'training_object', (select object from tunebase.files where id = t.training_file),
    'validation_object', (select object from tunebase.files where id = t.validation_file)
  ) order by array_position(v_chosen, t.id))
  into v_claimed
  from made join taken t on t.id = made.job_id;
  return jsonb_build_object(
    'claimed', coalesce(v_claimed, '[]'),
    -- All were failed or postponed: claim again at once, because others may be due.
    'wait_seconds', coalesce(v_wait, case when v_claimed is null and cardinality(v_chosen) > 0 then 0 end)
  );
end $$;

-- schemas/functions/dispatch/record_dispatch_ambiguous.sql
-- /run may have started a billed run, so it is never submitted again. A worker's claim or RunPod's webhook resolves it,
-- otherwise it ends at its deadline.
create function tunebase_internal.record_dispatch_ambiguous(p_attempt_id uuid, p_reason text) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  perform tunebase_internal.lock_attempt(p_attempt_id);
  update tunebase.attempts
  set state = 'submission_unknown', error_message = p_reason, reconcile_at = claim_deadline
  where id = p_attempt_id and state = 'submitting';
end $$;

-- schemas/functions/dispatch/record_dispatch_failed.sql
-- RunPod rejected /run for good: the configuration is wrong, and a retry would not help.
create function tunebase_internal.record_dispatch_failed(p_attempt_id uuid, p_reason text) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_attempt tunebase.attempts := tunebase_internal.lock_attempt(p_attempt_id);
begin
  if v_attempt.state is distinct from 'submitting' then
    return;
  end if;
  perform tunebase_internal.end_attempt(
    p_attempt_id, 'refused', 'operator', 'configuration', p_reason,
    'The operator of this service must check RUNPOD_API_KEY, the endpoint and its balance.'
  );
  perform tunebase_internal.raise_alert('run_refused', v_attempt.endpoint_id, p_reason);
end $$;

-- schemas/functions/dispatch/record_dispatch_rejected.sql
-- /run certainly did not start a run: the job is due again later, and this does not count as a failed attempt. A job that
-- has waited longer than its queue timeout fails with no_capacity. p_blocked (a 429): no calls to this endpoint until then.
create function tunebase_internal.record_dispatch_rejected(
  p_attempt_id uuid, p_reason text, p_retry_seconds double precision, p_blocked boolean
) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_attempt tunebase.attempts := tunebase_internal.lock_attempt(p_attempt_id);
  v_job tunebase.jobs;
  v_queue_timeout interval := make_interval(secs => v_attempt.ttl_seconds - v_attempt.execution_timeout_seconds);
begin
  if v_attempt.state is distinct from 'submitting' then
    return;
  end if;
  if p_blocked then
    update tunebase_internal.runpod_endpoints
    set blocked_until = greatest(blocked_until, now() + make_interval(secs => p_retry_seconds)), calls_left = 0
    where endpoint_id = v_attempt.endpoint_id;
  end if;
  perform tunebase_internal.end_attempt(p_attempt_id, 'not_started', p_message => p_reason);
  select * into v_job from tunebase.jobs where id = v_attempt.job_id;
  if v_job.status <> 'queued' then
    return;
  end if;
  if exists (
    select from tunebase.attempts
    where job_id = v_job.id and outcome = 'not_started' and created_at between v_job.queued_at and now() - v_queue_timeout
  ) then
    perform tunebase_internal.fail_job(
      v_job.id, 'no_capacity', format('The GPU service has not accepted the job for %s (%s).', v_queue_timeout, p_reason),
      'Create the job again later.'
    );
    return;
  end if;
  update tunebase.jobs set due_at = now() + make_interval(secs => p_retry_seconds), status_reason = p_reason
  where id = v_job.id;
  perform tunebase_internal.add_event(v_job.id, 'warn', format(
    'The GPU service did not accept the job (%s). Retrying in %s seconds.', p_reason, ceil(p_retry_seconds)
  ));
end $$;

-- schemas/functions/dispatch/record_dispatch_submitted.sql
-- /run returned an id. If a worker has already claimed the attempt, only the id is added.
create function tunebase_internal.record_dispatch_submitted(p_attempt_id uuid, p_runpod_job_id text) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  perform tunebase_internal.lock_attempt(p_attempt_id);
  update tunebase.attempts
  set state = case when state in ('submitting', 'submission_unknown') then 'submitted' else state end,
    runpod_job_id = coalesce(runpod_job_id, p_runpod_job_id),
    submitted_at = coalesce(submitted_at, now()),
    reconcile_at = case
      -- Cancelled or paused while it was submitted: it is cancelled at RunPod at the next check.
      when cancel_requested then now()
      when state in ('submitting', 'submission_unknown') then now() + interval '15 seconds'
      else reconcile_at
    end
  where id = p_attempt_id and state <> 'ended';
end $$;

-- schemas/functions/dispatch/release_dispatch.sql
-- Releases an attempt that was claimed and certainly not sent, because the scheduler's isolate is about to end. Its job is
-- due again at once, without an event, and the endpoint's token bucket gets its token back.
create function tunebase_internal.release_dispatch(p_attempt_id uuid) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_attempt tunebase.attempts := tunebase_internal.lock_attempt(p_attempt_id);
begin
  if v_attempt.state is distinct from 'submitting' then
    return;
  end if;
  perform tunebase_internal.end_attempt(p_attempt_id, 'not_started', p_message => 'It was not sent.');
  update tunebase_internal.runpod_endpoints set calls_left = calls_left + 1 where endpoint_id = v_attempt.endpoint_id;
end $$;

-- schemas/functions/estimates/estimate_accuracy.sql
-- Compares the estimate of one figure with its actual value; null if there was no estimate.
create function tunebase_internal.estimate_accuracy(p_range jsonb, p_actual numeric) returns jsonb
language sql immutable set search_path = ''
as $$
  select case when jsonb_typeof(p_range) = 'object' then jsonb_build_object(
    'expected', p_range -> 'expected', 'actual', p_actual,
    'ratio', round(p_actual / nullif((p_range ->> 'expected')::numeric, 0), 4),
    'within_range', p_actual between (p_range ->> 'low')::numeric and (p_range ->> 'high')::numeric
  ) end
$$;

-- schemas/functions/estimates/get_estimate_inputs.sql
-- Everything an estimate needs, in one call: {model, parent, training: {id, filename, bytes, object, report, sample},
-- validation}. p_model may be a fine-tune of the project: then `model` is its base and `parent` is {name, hyperparameters}.
-- Raises what create_job would raise.
create function tunebase_internal.get_estimate_inputs(
  p_caller jsonb, p_model text, p_training_file uuid, p_validation_file uuid
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'jobs:write');
  v_parent tunebase.adapters;
  v_model jsonb;
begin
  select * into v_parent from tunebase.adapters
  where name = p_model and project_id = v_project_id and deleted_at is null;
  v_model := tunebase_internal.require_base_model(coalesce(v_parent.base_model, p_model));
  perform tunebase_internal.require_training_file(v_project_id, p_training_file, 'training_file');
  if p_validation_file is not null then
    perform tunebase_internal.require_training_file(v_project_id, p_validation_file, 'validation_file');
  end if;
  return jsonb_build_object(
    'model', v_model,
    'parent', case when v_parent.id is not null then jsonb_build_object(
      'name', v_parent.name, 'hyperparameters', v_parent.manifest -> 'hyperparameters'
    ) end,
    'training', tunebase_internal.get_token_sample(p_training_file, v_model ->> 'tokenizer'),
    'validation', case when p_validation_file is not null then
      tunebase_internal.get_token_sample(p_validation_file, v_model ->> 'tokenizer')
    end
  );
end $$;

-- schemas/functions/estimates/get_token_sample.sql
-- A file with its stored token counts for this tokenizer (or by characters), if any. plpgsql, because it caches its plan.
create function tunebase_internal.get_token_sample(p_file_id uuid, p_tokenizer text) returns jsonb
language plpgsql stable set search_path = ''
as $$
begin
  return (
    select jsonb_build_object(
      'id', f.id, 'filename', f.filename, 'bytes', f.bytes, 'object', f.object, 'report', f.report, 'sample', s.sample
    )
    from tunebase.files f
    left join tunebase_internal.token_samples s
      on s.file_id = f.id and s.counter = coalesce(p_tokenizer, 'characters')
    where f.id = p_file_id
  );
end $$;

-- schemas/functions/estimates/score_estimate.sql
-- A finished job's estimate compared with the actual values; null if the job had none. Call it once the job's attempts have
-- ended and their cost is final.
create function tunebase_internal.score_estimate(p_job tunebase.jobs) returns jsonb
language plpgsql stable set search_path = ''
as $$
declare
  v_seconds numeric;
begin
  select round(coalesce(sum(extract(epoch from ended_at - started_at)), 0), 1) into v_seconds
  from tunebase.attempts where job_id = p_job.id;
  return p_job.estimate || jsonb_build_object('score', jsonb_build_object(
    'tokens', tunebase_internal.estimate_accuracy(p_job.estimate #> '{tokens,total}', p_job.trained_tokens),
    'seconds', tunebase_internal.estimate_accuracy(p_job.estimate #> '{time,seconds}', v_seconds),
    'cost_usd', tunebase_internal.estimate_accuracy(p_job.estimate #> '{cost,usd}', p_job.cost_usd)
  ));
end $$;

-- schemas/functions/estimates/store_token_sample.sql
-- Stores token counts of a file. The first result wins: they are all equal.
create function tunebase_internal.store_token_sample(p_file_id uuid, p_counter text, p_sample jsonb) returns void
language sql security definer set search_path = ''
as $$
  insert into tunebase_internal.token_samples (file_id, counter, sample) values (p_file_id, p_counter, p_sample)
  on conflict do nothing
$$;

-- schemas/functions/evaluations/authorize_evaluation.sql
-- The evaluation, if it belongs to the caller's project. Raises evaluation_not_found.
create function tunebase_internal.authorize_evaluation(p_caller jsonb, p_id uuid, p_scope text) returns tunebase.evaluations
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, p_scope);
  v_evaluation tunebase.evaluations;
begin
  select * into v_evaluation from tunebase.evaluations where id = p_id and project_id = v_project_id;
  if not found then
    perform tunebase_internal.raise_api_error('evaluation_not_found');
  end if;
  return v_evaluation;
end $$;

-- schemas/functions/evaluations/cancel_evaluation.sql
-- Stops an evaluation; its answers are kept. Does nothing to one that has ended.
create function tunebase_internal.cancel_evaluation(p_caller jsonb, p_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_evaluation tunebase.evaluations := tunebase_internal.authorize_evaluation(p_caller, p_id, 'inference');
begin
  perform tunebase_internal.end_evaluation(p_id, 'cancelled', null);
  select * into v_evaluation from tunebase.evaluations where id = p_id;
  return tunebase_internal.evaluation_json(v_evaluation);
end $$;

-- schemas/functions/evaluations/claim_evaluation_answer.sql
-- Leases the answer that is due and starts its inference request, or returns null when none is due. Returns {evaluation_id,
-- line, model_number, lease, prompt, expected, is_json, graders, sampling, model}, where `model` is what start_inference
-- returns; or {evaluation_id, failed: {code, detail}} if its model can no longer be called or the project's cap is reached.
-- The caller must then call end_evaluation, which takes its locks in another order.
create function tunebase_internal.claim_evaluation_answer(p_lease_seconds integer) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_item tunebase_internal.evaluation_queue;
  v_evaluation tunebase.evaluations;
  v_row tunebase.evaluation_rows;
  v_model jsonb;
  v_message text;
  v_detail text;
begin
  select * into v_item from tunebase_internal.evaluation_queue
  where next_at <= now() order by next_at limit 1 for update skip locked;
  if not found then
    return null;
  end if;
  select * into v_evaluation from tunebase.evaluations where id = v_item.evaluation_id;
  select * into v_row from tunebase.evaluation_rows where evaluation_id = v_item.evaluation_id and line = v_item.line;
  begin
    if exists (select from tunebase.projects where id = v_evaluation.project_id and archived_at is not null) then
      perform tunebase_internal.raise_api_error('project_archived');
    end if;
    v_model := tunebase_internal.insert_inference_request(
      v_evaluation.project_id, v_evaluation.api_key_id, v_evaluation.user_id, jsonb_build_object(
        'model', v_evaluation.models[v_item.model_number], 'stream', false,
        -- A token is at least a byte.
        'max_prompt_tokens', octet_length(v_row.prompt::text), 'prompts', 1, 'choices', 1,
        'max_completion_tokens', v_evaluation.sampling -> 'max_completion_tokens'
      )
    );
  exception when sqlstate 'TB000' then
    get stacked diagnostics v_message = message_text, v_detail = pg_exception_detail;
    update tunebase_internal.evaluation_queue set next_at = now() + make_interval(secs => p_lease_seconds)
    where evaluation_id = v_item.evaluation_id and line = v_item.line and model_number = v_item.model_number;
    return jsonb_build_object(
      'evaluation_id', v_item.evaluation_id, 'failed', jsonb_build_object('code', v_message, 'detail', v_detail::jsonb)
    );
  end;
  update tunebase_internal.evaluation_queue
  set lease = gen_random_uuid(), next_at = now() + make_interval(secs => p_lease_seconds),
    request_id = (v_model ->> 'id')::uuid
  where evaluation_id = v_item.evaluation_id and line = v_item.line and model_number = v_item.model_number
  returning * into v_item;
  return jsonb_build_object(
    'evaluation_id', v_item.evaluation_id, 'line', v_item.line, 'model_number', v_item.model_number, 'lease', v_item.lease,
    'prompt', v_row.prompt, 'expected', v_row.expected, 'is_json', v_row.is_json, 'graders', v_evaluation.graders,
    'sampling', v_evaluation.sampling, 'model', v_model
  );
end $$;

-- schemas/functions/evaluations/create_evaluation.sql
-- Creates an evaluation and queues its answers. p_evaluation: {name, file_id, models, graders, sampling, metadata, file_rows,
-- rows: [{line, prompt, expected, is_json}]}. A repeated request returns the evaluation that it created before. Raises model_not_found,
-- model_not_servable, file_not_found or quota_exceeded.
create function tunebase_internal.create_evaluation(p_caller jsonb, p_evaluation jsonb) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'inference');
  v_max_running constant integer := 10;
  v_models text[] := array(select jsonb_array_elements_text(p_evaluation -> 'models'));
  v_model text;
  v_id uuid := tunebase_internal.find_created_resource(p_caller);
  v_evaluation tunebase.evaluations;
begin
  select * into v_evaluation from tunebase.evaluations where id = v_id and project_id = v_project_id;
  if found then
    return tunebase_internal.evaluation_json(v_evaluation);
  end if;
  -- Two requests must not both pass the limit.
  perform from tunebase.projects where id = v_project_id for no key update;
  if (select count(*) from tunebase.evaluations where project_id = v_project_id and status = 'running') >= v_max_running then
    perform tunebase_internal.raise_api_error('quota_exceeded', jsonb_build_object(
      'what', 'running evaluations', 'limit', v_max_running, 'used', v_max_running, 'fix', 'Wait for one to end, or cancel one.'
    ));
  end if;
  foreach v_model in array v_models loop
    perform tunebase_internal.require_servable_model(v_project_id, v_model);
  end loop;
  perform tunebase_internal.require_file(v_project_id, (p_evaluation ->> 'file_id')::uuid);
  insert into tunebase.evaluations (
    project_id, api_key_id, user_id, name, file_id, models, graders, sampling, metadata, file_rows, row_count
  ) values (
    v_project_id,
    (select api_key_id from tunebase_internal.api_key_hashes where hash = decode(p_caller ->> 'key_hash', 'hex')),
    (p_caller ->> 'user_id')::uuid, p_evaluation ->> 'name', (p_evaluation ->> 'file_id')::uuid, v_models,
    p_evaluation -> 'graders', p_evaluation -> 'sampling', p_evaluation -> 'metadata',
    (p_evaluation ->> 'file_rows')::integer, jsonb_array_length(p_evaluation -> 'rows')
  ) returning * into v_evaluation;
  insert into tunebase.evaluation_rows (evaluation_id, project_id, line, prompt, expected, is_json)
  select v_evaluation.id, v_project_id, (r ->> 'line')::integer, r -> 'prompt', r ->> 'expected', (r ->> 'is_json')::boolean
  from jsonb_array_elements(p_evaluation -> 'rows') r;
  -- The oldest due answer is claimed first. One row every 100 ms, so that a large evaluation does not hold up others.
  insert into tunebase_internal.evaluation_queue (evaluation_id, line, model_number, next_at)
  select v_evaluation.id, (r ->> 'line')::integer, model_number, now() + (number - 1) * interval '100 ms'
  from jsonb_array_elements(p_evaluation -> 'rows') with ordinality r (r, number),
    generate_series(1, cardinality(v_models)) model_number;
  perform tunebase_internal.record_created_resource(p_caller, v_evaluation.id);
  return tunebase_internal.evaluation_json(v_evaluation);
end $$;

-- schemas/functions/evaluations/delete_evaluation.sql
create function tunebase_internal.delete_evaluation(p_caller jsonb, p_id uuid) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  perform tunebase_internal.authorize_evaluation(p_caller, p_id, 'inference');
  delete from tunebase.evaluations where id = p_id;
end $$;

-- schemas/functions/evaluations/end_evaluation.sql
-- Ends a running evaluation and empties its queue. p_error: null, or {code, message}. Answers that are being generated are discarded.
create function tunebase_internal.end_evaluation(p_id uuid, p_status text, p_error jsonb) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  update tunebase.evaluations
  set status = p_status, error = p_error, finished_at = now()
  where id = p_id and status = 'running';
  if found then
    delete from tunebase_internal.evaluation_queue where evaluation_id = p_id;
  end if;
end $$;

-- schemas/functions/evaluations/evaluation_json.sql
-- An evaluation for the API, with the totals of each model: {model, answered, failed, exact_match, valid_json,
-- field_accuracy, graders, prompt_tokens, completion_tokens, seconds, cost_usd}. Shares are based on the answers so far.
create function tunebase_internal.evaluation_json(p_evaluation tunebase.evaluations) returns jsonb
language sql stable set search_path = ''
as $$
  select to_jsonb(p_evaluation) || jsonb_build_object('totals', jsonb_agg(jsonb_build_object(
    'model', m.name,
    'answered', t.answered,
    'failed', t.failed,
    'exact_match', t.exact_match,
    'valid_json', t.valid_json,
    'field_accuracy', t.field_accuracy,
    'graders', (
      select coalesce(jsonb_agg((
        select avg((a.scores -> 'graders' ->> (g.number - 1)::integer)::boolean::integer)
        from tunebase.evaluation_answers a
        where a.evaluation_id = p_evaluation.id and a.model_number = m.number and a.scores is not null
      ) order by g.number), '[]')
      from generate_series(1, jsonb_array_length(p_evaluation.graders)) g (number)
    ),
    'prompt_tokens', t.prompt_tokens,
    'completion_tokens', t.completion_tokens,
    'seconds', t.seconds,
    'cost_usd', t.cost_usd
  ) order by m.number))
  from unnest(p_evaluation.models) with ordinality m (name, number)
  cross join lateral (
    select count(*) filter (where answer is not null) as answered,
      count(*) filter (where error is not null) as failed,
      avg((scores ->> 'exact_match')::boolean::integer) as exact_match,
      avg((scores ->> 'valid_json')::boolean::integer) as valid_json,
      sum((scores ->> 'fields_correct')::numeric) / nullif(sum((scores ->> 'fields_expected')::numeric), 0) as field_accuracy,
      coalesce(sum(prompt_tokens), 0) as prompt_tokens,
      coalesce(sum(completion_tokens), 0) as completion_tokens,
      coalesce(sum(seconds), 0) as seconds,
      coalesce(sum(cost_usd), 0) as cost_usd
    from tunebase.evaluation_answers a
    where a.evaluation_id = p_evaluation.id and a.model_number = m.number
  ) t
$$;

-- schemas/functions/evaluations/get_evaluation.sql
create function tunebase_internal.get_evaluation(p_caller jsonb, p_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
begin
  return tunebase_internal.evaluation_json(tunebase_internal.authorize_evaluation(p_caller, p_id, 'models:read'));
end $$;

-- schemas/functions/evaluations/get_evaluation_file.sql
-- A file to evaluate models with.
create function tunebase_internal.get_evaluation_file(p_caller jsonb, p_id uuid) returns jsonb
language sql security definer set search_path = ''
as $$
  select to_jsonb(tunebase_internal.require_file(tunebase_internal.authorize(p_caller, 'inference'), p_id))
$$;

-- schemas/functions/evaluations/list_evaluation_rows.sql
-- The rows of an evaluation by line, each with its answers so far in the order of the models. p_after: a line.
create function tunebase_internal.list_evaluation_rows(p_caller jsonb, p_id uuid, p_after integer, p_limit integer) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_evaluation tunebase.evaluations := tunebase_internal.authorize_evaluation(p_caller, p_id, 'models:read');
  v_rows jsonb;
begin
  select jsonb_agg(to_jsonb(r) || jsonb_build_object('answers', (
    select coalesce(jsonb_agg(to_jsonb(a) || jsonb_build_object('model', v_evaluation.models[a.model_number])
      order by a.model_number), '[]')
    from tunebase.evaluation_answers a where a.evaluation_id = p_id and a.line = r.line
  )) order by r.line) into v_rows from (
    select * from tunebase.evaluation_rows
    where evaluation_id = p_id and line > coalesce(p_after, 0)
    order by line limit p_limit + 1
  ) r;
  return tunebase_internal.paginate(v_rows, p_limit);
end $$;

-- schemas/functions/evaluations/list_evaluations.sql
-- Newest first. p_filter: any of {model, file_id}.
create function tunebase_internal.list_evaluations(p_caller jsonb, p_after uuid, p_limit integer, p_filter jsonb) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'models:read');
  v_rows jsonb;
begin
  if p_after is not null and not exists (select from tunebase.evaluations where id = p_after and project_id = v_project_id) then
    perform tunebase_internal.raise_api_error('cursor_not_found');
  end if;
  select jsonb_agg(tunebase_internal.evaluation_json(e) order by e.id desc) into v_rows from (
    select * from tunebase.evaluations
    where project_id = v_project_id and (p_after is null or id < p_after)
      and (p_filter -> 'model' is null or p_filter ->> 'model' = any (models))
      and (p_filter -> 'file_id' is null or file_id = (p_filter ->> 'file_id')::uuid)
    order by id desc limit p_limit + 1
  ) e;
  return tunebase_internal.paginate(v_rows, p_limit);
end $$;

-- schemas/functions/evaluations/record_evaluation_answer.sql
-- Ends the inference request of a claimed answer, which charges for it, and stores the answer if the lease still holds.
-- p_request: the arguments of finish_inference. p_answer is one of: {answer, finish_reason, scores}; {error};
-- {error, retry_seconds}: retry after that time, at most ten times; {ends: {code, message}}: end the evaluation, because
-- every other row would fail in the same way. The last answer ends the evaluation.
create function tunebase_internal.record_evaluation_answer(
  p_evaluation_id uuid, p_line integer, p_model_number integer, p_lease uuid, p_request_id uuid, p_request jsonb, p_answer jsonb
) returns boolean
language plpgsql security definer set search_path = ''
as $$
declare
  v_max_failures constant integer := 10;
  v_item tunebase_internal.evaluation_queue;
  v_evaluation tunebase.evaluations;
  v_cost numeric;
begin
  perform tunebase_internal.finish_inference(p_request_id, p_request);
  -- Locks the evaluation first, as cancellation does.
  select * into v_evaluation from tunebase.evaluations where id = p_evaluation_id for no key update;
  select * into v_item from tunebase_internal.evaluation_queue
  where evaluation_id = p_evaluation_id and line = p_line and model_number = p_model_number and lease = p_lease for update;
  if not found then
    return false;
  end if;
  if p_answer -> 'ends' is not null then
    perform tunebase_internal.end_evaluation(p_evaluation_id, 'failed', p_answer -> 'ends');
    return true;
  end if;
  if p_answer -> 'retry_seconds' is not null and v_item.failures + 1 < v_max_failures then
    update tunebase_internal.evaluation_queue
    set failures = failures + 1, lease = null,
      next_at = now() + make_interval(secs => (p_answer ->> 'retry_seconds')::integer)
    where evaluation_id = p_evaluation_id and line = p_line and model_number = p_model_number;
    return true;
  end if;
  select cost_usd into v_cost from tunebase.inference_requests where id = p_request_id;
  insert into tunebase.evaluation_answers (
    evaluation_id, line, model_number, project_id, answer, finish_reason, error, scores, prompt_tokens, completion_tokens,
    seconds, cost_usd
  ) values (
    p_evaluation_id, p_line, p_model_number, v_evaluation.project_id, p_answer ->> 'answer', p_answer ->> 'finish_reason',
    p_answer ->> 'error', nullif(p_answer -> 'scores', 'null'), (p_request ->> 'prompt_tokens')::integer,
    (p_request ->> 'completion_tokens')::integer, (p_request ->> 'seconds')::numeric, coalesce(v_cost, 0)
  );
  delete from tunebase_internal.evaluation_queue
  where evaluation_id = p_evaluation_id and line = p_line and model_number = p_model_number;
  update tunebase.evaluations set answered = answered + 1 where id = p_evaluation_id returning * into v_evaluation;
  if v_evaluation.answered = v_evaluation.row_count * cardinality(v_evaluation.models) then
    perform tunebase_internal.end_evaluation(p_evaluation_id, 'succeeded', null);
  end if;
  return true;
end $$;

-- schemas/functions/files/cancel_file_validation.sql
-- Trigger: deleting a file cancels its validation. The objects that a copy may still complete are deleted an
-- hour later.
create function tunebase_internal.cancel_file_validation() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
  v_check tunebase_internal.file_validations;
begin
  delete from tunebase_internal.file_row_hashes where file_id = new.id;
  delete from tunebase_internal.file_validations where file_id = new.id returning * into v_check;
  if found then
    insert into tunebase_internal.orphaned_objects (bucket, object, next_at)
    select 'tunebase-datasets', s ->> 'object', now() from jsonb_array_elements(v_check.sources) s
    union
    select 'tunebase-datasets', new.object, now() + interval '1 hour' where v_check.is_copied
    union
    select 'tunebase-datasets', v_check.converted_object, now() + interval '1 hour' where v_check.converted_object is not null
    on conflict do nothing;
  end if;
  return null;
end $$;

-- schemas/functions/files/check_storage_quota.sql
-- Raises quota_exceeded if p_bytes more would exceed the project's storage quota, including pending uploads. Locks the
-- project, so that two uploads cannot use the same quota. Call it before storing bytes, if their number is known.
create function tunebase_internal.check_storage_quota(p_project_id uuid, p_bytes bigint) returns void
language plpgsql set search_path = ''
as $$
declare
  v_limit bigint;
  v_used bigint;
begin
  select max_storage_bytes into v_limit from tunebase.projects where id = p_project_id for no key update;
  if v_limit is null then
    return;
  end if;
  v_used := tunebase_internal.stored_bytes(p_project_id) + tunebase_internal.pending_bytes(p_project_id);
  if v_used + p_bytes > v_limit then
    perform tunebase_internal.raise_api_error('quota_exceeded', jsonb_build_object(
      'what', 'bytes of storage', 'limit', v_limit, 'used', v_used, 'param', 'file',
      'fix', format('This file has %s bytes. Delete files, or ask the operator to raise max_storage_bytes.', p_bytes)
    ));
  end if;
end $$;

-- schemas/functions/files/checkpoint_file_validation.sql
-- Saves a validation's progress; p_lease_seconds 0 releases it for the next worker. Returns false if another worker holds the
-- lease or the file is gone.
create function tunebase_internal.checkpoint_file_validation(
  p_file_id uuid, p_lease uuid, p_state jsonb, p_upload_url text, p_lease_seconds integer
) returns boolean
language plpgsql security definer set search_path = ''
as $$
begin
  update tunebase_internal.file_validations
  set state = p_state, upload_url = p_upload_url, failures = 0, next_at = now() + make_interval(secs => p_lease_seconds)
  where file_id = p_file_id and lease = p_lease;
  return found;
end $$;

-- schemas/functions/files/claim_file_validation.sql
-- Leases the validation that is due, for p_lease_seconds. Returns null when none is due.
create function tunebase_internal.claim_file_validation(p_lease_seconds integer) returns jsonb
language sql security definer set search_path = ''
as $$
  with due as (
    select file_id from tunebase_internal.file_validations where next_at <= now() order by next_at limit 1 for update skip locked
  ), taken as (
    update tunebase_internal.file_validations c
    set lease = gen_random_uuid(), next_at = now() + make_interval(secs => p_lease_seconds)
    from due where c.file_id = due.file_id
    returning c.*
  )
  select to_jsonb(t) || jsonb_build_object('object', f.object, 'bytes', f.bytes)
  from taken t join tunebase.files f on f.id = t.file_id
$$;

-- schemas/functions/files/claim_orphaned_objects.sql
-- Claims Storage objects to delete. An object that is not deleted within ten minutes is claimed again.
create function tunebase_internal.claim_orphaned_objects(p_limit integer) returns jsonb
language sql security definer set search_path = ''
as $$
  with due as (
    select bucket, object from tunebase_internal.orphaned_objects where next_at <= now()
    order by next_at limit p_limit
    for no key update skip locked
  ), taken as (
    update tunebase_internal.orphaned_objects g set next_at = now() + interval '10 minutes'
    from due where g.bucket = due.bucket and g.object = due.object
    returning g.bucket, g.object
  )
  select coalesce(jsonb_agg(jsonb_build_object('bucket', bucket, 'object', object)), '[]') from taken
$$;

-- schemas/functions/files/create_file.sql
-- Records a validated file whose bytes are in Storage. p_file: {id, filename, purpose, bytes, sha256, report, object,
-- rows: {threshold, hashes}, expires_after}, and for a converted file also source_format, conversion and
-- original: {object, bytes, sha256}. Safe to call twice.
create function tunebase_internal.create_file(p_caller jsonb, p_file jsonb) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'files:write');
  v_id uuid := (p_file ->> 'id')::uuid;
  v_file tunebase.files;
begin
  insert into tunebase.files (id, project_id, filename, purpose, bytes, sha256, status, report, object, expires_at,
    source_format, conversion, original_object, original_bytes, original_sha256)
  values (
    v_id, v_project_id, p_file ->> 'filename', p_file ->> 'purpose', (p_file ->> 'bytes')::bigint, p_file ->> 'sha256',
    'processed', p_file -> 'report', p_file ->> 'object',
    now() + make_interval(secs => (p_file ->> 'expires_after')::integer),
    p_file ->> 'source_format', nullif(p_file -> 'conversion', 'null'), p_file #>> '{original,object}',
    (p_file #>> '{original,bytes}')::bigint, p_file #>> '{original,sha256}'
  )
  on conflict (id) do nothing;
  select * into strict v_file from tunebase.files where id = v_id and project_id = v_project_id;
  delete from tunebase_internal.orphaned_objects where bucket = 'tunebase-datasets' and object in (v_file.object, v_file.original_object);
  perform tunebase_internal.store_row_hashes(v_id, p_file -> 'rows');
  return to_jsonb(v_file);
end $$;

-- schemas/functions/files/create_unvalidated_file.sql
-- Records a file whose bytes are in Storage, for the scheduler to validate. p_file: {id, filename, purpose, bytes,
-- object, expires_after}. Safe to call twice.
create function tunebase_internal.create_unvalidated_file(p_caller jsonb, p_file jsonb) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'files:write');
  v_id uuid := (p_file ->> 'id')::uuid;
  v_file tunebase.files;
begin
  insert into tunebase.files (id, project_id, filename, purpose, bytes, status, object, expires_at)
  values (
    v_id, v_project_id, p_file ->> 'filename', p_file ->> 'purpose', (p_file ->> 'bytes')::bigint, 'uploaded', p_file ->> 'object',
    now() + make_interval(secs => (p_file ->> 'expires_after')::integer)
  )
  on conflict (id) do nothing;
  if found then
    insert into tunebase_internal.file_validations (file_id, sources, is_copied)
    values (v_id, jsonb_build_array(jsonb_build_object('object', p_file ->> 'object', 'bytes', (p_file ->> 'bytes')::bigint)), false);
  end if;
  select * into strict v_file from tunebase.files where id = v_id and project_id = v_project_id;
  delete from tunebase_internal.orphaned_objects where bucket = 'tunebase-datasets' and object = v_file.object;
  return to_jsonb(v_file);
end $$;

-- schemas/functions/files/delete_file.sql
-- Deletes a file for its project. The row stays for the jobs that used it; the scheduler deletes the bytes.
create function tunebase_internal.delete_file(p_caller jsonb, p_id uuid) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'files:write');
  v_file tunebase.files;
begin
  -- Locks all files that share its objects in a fixed order: otherwise two concurrent deletions could deadlock.
  select * into v_file from tunebase.files where id = p_id and project_id = v_project_id;
  perform from tunebase.files
  where (object = v_file.object or original_object = v_file.original_object) and deleted_at is null
  order by id for update;
  select * into v_file from tunebase.files
  where id = p_id and project_id = v_project_id and deleted_at is null
  for update;
  if not found then
    perform tunebase_internal.raise_api_error('file_not_found');
  end if;
  if exists (
    select from tunebase.jobs
    where (training_file = p_id or validation_file = p_id) and not tunebase_internal.is_terminal(status)
  ) then
    perform tunebase_internal.raise_api_error('file_in_use');
  end if;
  update tunebase.files set deleted_at = now() where id = p_id;
  perform tunebase_internal.release_object(v_file.object);
  perform tunebase_internal.release_object(v_file.original_object);
end $$;

-- schemas/functions/files/delete_orphaned_objects.sql
create function tunebase_internal.delete_orphaned_objects(p_bucket text, p_objects jsonb) returns void
language sql security definer set search_path = ''
as $$
  delete from tunebase_internal.orphaned_objects where bucket = p_bucket and object in (select jsonb_array_elements_text(p_objects))
$$;

-- schemas/functions/files/delete_result_content.sql
-- The content of a result file is in the database, so it is deleted at once.
create function tunebase_internal.delete_result_content() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  delete from tunebase_internal.result_contents where file_id = new.id;
  return null;
end $$;

-- schemas/functions/files/enforce_file_quota.sql
-- Enforces the storage quota. An object that a file shares with another uses no additional storage.
create function tunebase_internal.enforce_file_quota() returns trigger
language plpgsql set search_path = ''
as $$
declare
  v_bytes bigint := 0;
begin
  if not exists (
    select from tunebase.files where object = new.object and project_id = new.project_id and deleted_at is null
  ) then
    v_bytes := new.bytes;
  end if;
  if new.original_object is not null and not exists (
    select from tunebase.files where original_object = new.original_object and project_id = new.project_id and deleted_at is null
  ) then
    v_bytes := v_bytes + new.original_bytes;
  end if;
  if v_bytes > 0 then
    perform tunebase_internal.check_storage_quota(new.project_id, v_bytes);
  end if;
  return new;
end $$;

-- schemas/functions/files/expire_files.sql
-- Expires uploads that were not completed, and files with `expires_after` that no unfinished job uses.
create function tunebase_internal.expire_files() returns integer
language plpgsql security definer set search_path = ''
as $$
declare
  v_upload tunebase_internal.uploads;
  v_file tunebase.files;
  v_count integer := 0;
begin
  for v_upload in
    select * from tunebase_internal.uploads where status = 'pending' and expires_at <= now()
    order by expires_at limit 100 for update skip locked
  loop
    update tunebase_internal.uploads set status = 'expired' where id = v_upload.id;
    perform tunebase_internal.discard_upload(v_upload);
    v_count := v_count + 1;
  end loop;
  -- Kept long enough for a repeated completion.
  delete from tunebase_internal.uploads where status <> 'pending' and expires_at < now() - interval '2 days';
  for v_file in
    select * from tunebase.files f
    where expires_at <= now() and deleted_at is null and not exists (
      select from tunebase.jobs
      where (training_file = f.id or validation_file = f.id) and not tunebase_internal.is_terminal(status)
    )
    order by object, id limit 100 for update skip locked
  loop
    update tunebase.files set deleted_at = now() where id = v_file.id;
    perform tunebase_internal.release_object(v_file.object);
    perform tunebase_internal.release_object(v_file.original_object);
    v_count := v_count + 1;
  end loop;
  return v_count;
end $$;

-- schemas/functions/files/file_overlap.sql
-- How many distinct rows two files share: {rows, exact}, or null if one of them has no hashes. Files with more than 16,384
-- distinct rows are compared by samples: both keep their lowest hashes, so shared rows are sampled in both.
create function tunebase_internal.file_overlap(p_file_id uuid, p_other_id uuid) returns jsonb
language sql stable set search_path = ''
as $$
  with compared as (
    select a.hashes as ours, b.hashes as theirs, least(a.threshold, b.threshold) as threshold
    from tunebase_internal.file_row_hashes a, tunebase_internal.file_row_hashes b
    where a.file_id = p_file_id and b.file_id = p_other_id
  ), common as (
    select count(*) as rows from (
      select unnest(ours) as hash from compared intersect select unnest(theirs) from compared
    ) c
    where hash < (select threshold from compared)
  )
  select jsonb_build_object(
    'rows', round(common.rows * 9007199254740992.0 / compared.threshold), 'exact', compared.threshold = 9007199254740992
  )
  from compared, common
$$;

-- schemas/functions/files/find_equal_object.sql
-- The object of an equal file that is not deleted, locked until this transaction ends; null if there is none.
create function tunebase_internal.find_equal_object(p_project_id uuid, p_purpose text, p_sha256 text, p_bytes bigint, p_but uuid)
returns text
language sql set search_path = ''
as $$
  select object from tunebase.files
  where project_id = p_project_id and sha256 = p_sha256 and purpose = p_purpose and bytes = p_bytes
    and status = 'processed' and deleted_at is null and id <> p_but
  order by id limit 1 for share
$$;

-- schemas/functions/files/find_equal_original.sql
-- The object of an equal original of a converted file that is not deleted, locked until this transaction ends; null if there
-- is none.
create function tunebase_internal.find_equal_original(p_project_id uuid, p_sha256 text, p_bytes bigint) returns text
language sql set search_path = ''
as $$
  select original_object from tunebase.files
  where project_id = p_project_id and original_sha256 = p_sha256 and original_bytes = p_bytes
    and status = 'processed' and deleted_at is null
  order by id limit 1 for share
$$;

-- schemas/functions/files/finish_file_validation.sql
-- Finishes a validation: {status, details, report, sha256, rows}, and for a converted file {converted: {bytes, sha256,
-- source_format, conversion}}. Releases jobs that wait for the file. Orphans copied parts, and the objects of a file that
-- equals another. Locks the file before the validation and the jobs, as everywhere.
create function tunebase_internal.finish_file_validation(p_file_id uuid, p_lease uuid, p_result jsonb) returns boolean
language plpgsql security definer set search_path = ''
as $$
declare
  v_file tunebase.files;
  v_check tunebase_internal.file_validations;
  v_converted jsonb := nullif(p_result -> 'converted', 'null');
  v_sha256 text := coalesce(v_converted ->> 'sha256', p_result ->> 'sha256');
  v_bytes bigint;
  v_equal text;
  v_object text;
begin
  select * into v_file from tunebase.files where id = p_file_id for no key update;
  delete from tunebase_internal.file_validations where file_id = p_file_id and lease = p_lease returning * into v_check;
  if not found then
    return false;
  end if;
  v_bytes := coalesce((v_converted ->> 'bytes')::bigint, v_file.bytes);
  if p_result ->> 'status' = 'processed' then
    v_equal := tunebase_internal.find_equal_object(v_file.project_id, v_file.purpose, v_sha256, v_bytes, p_file_id);
  end if;
  v_object := coalesce(v_equal, case when v_converted is null then v_file.object else v_check.converted_object end);
  update tunebase.files
  set status = p_result ->> 'status', status_details = p_result ->> 'details',
    report = coalesce(p_result -> 'report', '{}'), sha256 = v_sha256, bytes = v_bytes, object = v_object
  where id = p_file_id;
  if v_converted is not null then
    update tunebase.files
    set source_format = v_converted ->> 'source_format', conversion = v_converted -> 'conversion',
      original_object = v_file.object, original_bytes = v_file.bytes, original_sha256 = p_result ->> 'sha256'
    where id = p_file_id;
  end if;
  if p_result -> 'rows' is not null and p_result ->> 'status' = 'processed' then
    perform tunebase_internal.store_row_hashes(p_file_id, p_result -> 'rows');
  end if;
  insert into tunebase_internal.orphaned_objects (bucket, object)
  select 'tunebase-datasets', s.object from (
    select s ->> 'object' as object from jsonb_array_elements(v_check.sources) s
    union
    select v_file.object where v_equal is not null
    union
    select v_check.converted_object where v_check.converted_object is not null
  ) s
  where s.object <> v_object and (v_converted is null or s.object <> v_file.object)
  on conflict do nothing;
  perform tunebase_internal.release_jobs_waiting_for_file(p_file_id);
  return true;
end $$;

-- schemas/functions/files/get_file.sql
create function tunebase_internal.get_file(p_caller jsonb, p_id uuid) returns jsonb
language sql security definer set search_path = ''
as $$
  select to_jsonb(tunebase_internal.require_file(tunebase_internal.authorize(p_caller, 'files:read'), p_id))
$$;

-- schemas/functions/files/get_file_overlap.sql
-- How many distinct rows of a data file also occur in another: {rows, exact, distinct_rows, other_distinct_rows}.
-- Raises file_not_found, wrong_purpose, and file_not_ready for a file that is not valid, or not validated yet.
create function tunebase_internal.get_file_overlap(p_caller jsonb, p_id uuid, p_other_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'files:read');
  v_file tunebase.files;
  v_id uuid;
  v_distinct bigint[];
begin
  foreach v_id in array array[p_id, p_other_id] loop
    v_file := tunebase_internal.require_file(v_project_id, v_id);
    if v_file.purpose <> 'fine-tune' then
      perform tunebase_internal.raise_api_error('wrong_purpose', jsonb_build_object('purpose', v_file.purpose));
    elsif v_file.status <> 'processed' then
      perform tunebase_internal.raise_api_error('file_not_ready', jsonb_build_object('status', v_file.status));
    end if;
    v_distinct := v_distinct || (
      select round(cardinality(hashes) * 9007199254740992.0 / threshold)::bigint
      from tunebase_internal.file_row_hashes where file_id = v_id
    );
  end loop;
  return tunebase_internal.file_overlap(p_id, p_other_id)
    || jsonb_build_object('distinct_rows', v_distinct[1], 'other_distinct_rows', v_distinct[2]);
end $$;

-- schemas/functions/files/get_result_content.sql
-- The content of a result file.
create function tunebase_internal.get_result_content(p_caller jsonb, p_file_id uuid) returns text
language plpgsql security definer set search_path = ''
as $$
begin
  perform tunebase_internal.get_file(p_caller, p_file_id);
  return (select content from tunebase_internal.result_contents where file_id = p_file_id);
end $$;

-- schemas/functions/files/list_files.sql
-- Newest first by default. The cursor is the last file's id, because ids sort by time. Row errors and converted
-- rows are left out: a page may hold 10,000 files.
create function tunebase_internal.list_files(p_caller jsonb, p_purpose text, p_after uuid, p_ascending boolean, p_limit integer)
returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'files:read');
  v_rows jsonb;
begin
  if p_after is not null and not exists (select from tunebase.files where id = p_after and project_id = v_project_id) then
    perform tunebase_internal.raise_api_error('cursor_not_found');
  end if;
  -- Two statements, because a case in `order by` could not use the index and stop at the limit.
  if p_ascending then
    select jsonb_agg(to_jsonb(f) #- '{report,errors}' #- '{conversion,sample}' order by f.id) into v_rows from (
      select * from tunebase.files
      where project_id = v_project_id and deleted_at is null
        and (p_after is null or id > p_after) and (p_purpose is null or purpose = p_purpose)
      order by id limit p_limit + 1
    ) f;
  else
    select jsonb_agg(to_jsonb(f) #- '{report,errors}' #- '{conversion,sample}' order by f.id desc) into v_rows from (
      select * from tunebase.files
      where project_id = v_project_id and deleted_at is null
        and (p_after is null or id < p_after) and (p_purpose is null or purpose = p_purpose)
      order by id desc limit p_limit + 1
    ) f;
  end if;
  return tunebase_internal.paginate(v_rows, p_limit);
end $$;

-- schemas/functions/files/pending_bytes.sql
-- The declared bytes of a project's pending uploads, and of rows that are being converted.
create function tunebase_internal.pending_bytes(p_project_id uuid) returns bigint
language sql stable set search_path = ''
as $$
  select coalesce(sum(greatest(
    u.bytes, (select coalesce(sum(p.bytes), 0) from tunebase_internal.upload_parts p where p.upload_id = u.id)
  )), 0)::bigint + (
    select coalesce(sum(v.converted_bytes), 0)::bigint
    from tunebase_internal.file_validations v join tunebase.files f on f.id = v.file_id
    where f.project_id = p_project_id and v.converted_bytes is not null
  )
  from tunebase_internal.uploads u
  where u.project_id = p_project_id and u.status = 'pending' and u.expires_at > now()
$$;

-- schemas/functions/files/release_object.sql
-- Orphans an object (or null) of a deleted file, unless another file shares it. Locks those files in a fixed order, so that
-- the second of two concurrent deletions sees the first.
create function tunebase_internal.release_object(p_object text) returns void
language plpgsql set search_path = ''
as $$
begin
  perform from tunebase.files where p_object in (object, original_object) and deleted_at is null order by id for update;
  if p_object is not null and not exists (
    select from tunebase.files where p_object in (object, original_object) and deleted_at is null
  ) then
    insert into tunebase_internal.orphaned_objects (bucket, object) values ('tunebase-datasets', p_object) on conflict do nothing;
  end if;
end $$;

-- schemas/functions/files/require_file.sql
-- A file of the project. Raises file_not_found.
create function tunebase_internal.require_file(p_project_id uuid, p_id uuid) returns tunebase.files
language plpgsql stable set search_path = ''
as $$
declare
  v_file tunebase.files;
begin
  select * into v_file from tunebase.files where id = p_id and project_id = p_project_id and deleted_at is null;
  if not found then
    perform tunebase_internal.raise_api_error('file_not_found');
  end if;
  return v_file;
end $$;

-- schemas/functions/files/reserve_file_object.sql
-- Call before storing a file's bytes; p_bytes is a lower bound of their number. Raises quota_exceeded. If the request dies
-- before the file is recorded, the object is deleted after an hour, longer than any request runs. Returns the object's name.
create function tunebase_internal.reserve_file_object(p_caller jsonb, p_id uuid, p_bytes bigint) returns text
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'files:write');
  v_object text := v_project_id || '/' || p_id || '.jsonl';
begin
  perform tunebase_internal.check_storage_quota(v_project_id, p_bytes);
  insert into tunebase_internal.orphaned_objects (bucket, object, next_at) values ('tunebase-datasets', v_object, now() + interval '1 hour');
  return v_object;
end $$;

-- schemas/functions/files/retry_file_validation.sql
-- Retries a validation that failed because of Storage or the database, with backoff, up to twelve times.
create function tunebase_internal.retry_file_validation(p_file_id uuid, p_lease uuid, p_reason text) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_failures integer;
begin
  update tunebase_internal.file_validations
  set failures = failures + 1, next_at = now() + make_interval(secs => tunebase_internal.backoff_seconds(failures))
  where file_id = p_file_id and lease = p_lease
  returning failures into v_failures;
  if v_failures >= 12 then
    perform tunebase_internal.raise_alert('file_check', p_file_id::text, p_reason);
    perform tunebase_internal.finish_file_validation(p_file_id, p_lease, jsonb_build_object(
      'status', 'error', 'details', 'The file could not be read from Storage. Upload it again.'
    ));
  end if;
end $$;

-- schemas/functions/files/share_file.sql
-- Records a file that shares the objects of an equal one; returns null if there is none. p_file: as in create_file, without
-- the objects. For a converted file, both its rows and its original must be shared.
create function tunebase_internal.share_file(p_caller jsonb, p_file jsonb) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'files:write');
  v_object text := tunebase_internal.find_equal_object(
    v_project_id, p_file ->> 'purpose', p_file ->> 'sha256', (p_file ->> 'bytes')::bigint, (p_file ->> 'id')::uuid
  );
  v_original text;
begin
  if p_file #>> '{original,sha256}' is not null then
    v_original := tunebase_internal.find_equal_original(
      v_project_id, p_file #>> '{original,sha256}', (p_file #>> '{original,bytes}')::bigint
    );
    if v_original is null then
      return null;
    end if;
    p_file := jsonb_set(p_file, '{original,object}', to_jsonb(v_original));
  end if;
  if v_object is null then
    return null;
  end if;
  return tunebase_internal.create_file(p_caller, p_file || jsonb_build_object('object', v_object));
end $$;

-- schemas/functions/files/start_file_conversion.sql
-- Call before writing the canonical rows of a valid file in another format, which have p_bytes. Raises quota_exceeded if they exceed
-- the project's storage quota. Returns the name of their object, the same when called again; null if another worker holds the
-- lease or the file is gone.
create function tunebase_internal.start_file_conversion(p_file_id uuid, p_lease uuid, p_bytes bigint) returns text
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid;
  v_object text;
begin
  select project_id into v_project_id from tunebase.files where id = p_file_id for no key update;
  select converted_object into v_object from tunebase_internal.file_validations
  where file_id = p_file_id and lease = p_lease for update;
  if not found then
    return null;
  elsif v_object is null then
    perform tunebase_internal.check_storage_quota(v_project_id, p_bytes);
    v_object := v_project_id || '/' || gen_random_uuid() || '.jsonl';
    update tunebase_internal.file_validations set converted_object = v_object, converted_bytes = p_bytes where file_id = p_file_id;
  end if;
  return v_object;
end $$;

-- schemas/functions/files/store_row_hashes.sql
create function tunebase_internal.store_row_hashes(p_file_id uuid, p_rows jsonb) returns void
language sql set search_path = ''
as $$
  insert into tunebase_internal.file_row_hashes (file_id, threshold, hashes)
  values (
    p_file_id, (p_rows ->> 'threshold')::bigint,
    array(select hash::bigint from jsonb_array_elements_text(p_rows -> 'hashes') hash)
  )
  on conflict (file_id) do nothing
$$;

-- schemas/functions/inference/adapter_rank.sql
-- The rank of an adapter's matrices. PiSSA's have twice the rank: see trainer/tunebase_trainer/model/lora_variants.py.
create function tunebase_internal.adapter_rank(p_training jsonb) returns integer
language sql immutable set search_path = ''
as $$
  select (case when p_training ->> 'lora_variant' = 'pissa' then 2 else 1 end) * (p_training ->> 'lora_rank')::integer
$$;

-- schemas/functions/inference/delete_completion.sql
-- Deletes a stored completion. Raises completion_not_found.
create function tunebase_internal.delete_completion(p_caller jsonb, p_id uuid) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'files:write');
begin
  delete from tunebase.stored_completions where id = p_id and project_id = v_project_id;
  if not found then
    perform tunebase_internal.raise_api_error('completion_not_found');
  end if;
end $$;

-- schemas/functions/inference/expire_inference_requests.sql
-- Abandons requests whose process died, 15 minutes after they began, and deletes requests after 30 days and expired stored
-- completions: at most p_limit of each. Returns how many.
create function tunebase_internal.expire_inference_requests(p_limit integer) returns integer
language plpgsql security definer set search_path = ''
as $$
declare
  v_abandoned integer;
  v_deleted integer;
  v_expired integer;
begin
  update tunebase.inference_requests set status = 'abandoned', finished_at = now()
  where id in (
    select id from tunebase.inference_requests
    where status = 'open' and id < tunebase_internal.uuid7_lower_bound(now() - interval '15 minutes')
    order by id limit p_limit for update skip locked
  );
  get diagnostics v_abandoned = row_count;
  delete from tunebase.inference_requests where id in (
    select id from tunebase.inference_requests
    where id < tunebase_internal.uuid7_lower_bound(now() - interval '30 days') and status <> 'open'
    order by id limit p_limit for update skip locked
  );
  get diagnostics v_deleted = row_count;
  delete from tunebase.stored_completions where id in (
    select id from tunebase.stored_completions where expires_at <= now()
    order by expires_at limit p_limit for update skip locked
  );
  get diagnostics v_expired = row_count;
  return v_abandoned + v_deleted + v_expired;
end $$;

-- schemas/functions/inference/export_completions.sql
-- The newest p_limit stored completions that match a filter (select_completions) and fit in p_max_bytes, as chat rows for
-- training, oldest first, with OpenAI's role "developer" as "system". Omits truncated answers. Raises no_completions_found.
create function tunebase_internal.export_completions(p_caller jsonb, p_filter jsonb, p_limit integer, p_max_bytes integer)
returns text
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'files:write');
  v_rows text;
begin
  with newest as (
    select c.id, (
      jsonb_build_object('messages', (
        select coalesce(
          jsonb_agg(case when m ->> 'role' = 'developer' then m || '{"role": "system"}' else m end order by place), '[]'
        )
        from jsonb_array_elements(c.messages) with ordinality e (m, place)
      ) || jsonb_build_array(c.answer))
      || case when c.tools is null then '{}' else jsonb_build_object('tools', c.tools) end
    )::text as line
    from tunebase_internal.select_completions(v_project_id, p_filter) c
    where c.answer is not null
    order by c.id desc limit p_limit
  ), counted as (
    select id, line, sum(octet_length(line) + 1) over (order by id desc) as bytes from newest
  )
  select string_agg(line || E'\n', '' order by id) into v_rows from counted where bytes <= p_max_bytes;
  if v_rows is null then
    perform tunebase_internal.raise_api_error('no_completions_found');
  end if;
  return v_rows;
end $$;

-- schemas/functions/inference/find_servable_model.sql
-- A model that the caller may call (require_servable_model), with its project.
create function tunebase_internal.find_servable_model(p_caller jsonb, p_name text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'inference');
begin
  return tunebase_internal.require_servable_model(v_project_id, p_name)
    || jsonb_build_object('id', tunebase_internal.uuid7(), 'project_id', v_project_id);
end $$;

-- schemas/functions/inference/finish_inference.sql
-- Ends a request, charges for it, and stores its conversation if p_completion has one (store_completion). p_result: {status, http_status, error_code, prompt_tokens, completion_tokens,
-- first_token_ms, seconds}. Returns whether this call ended it: the first one wins, so a request is charged once.
create function tunebase_internal.finish_inference(p_id uuid, p_result jsonb, p_completion jsonb default null)
returns boolean
language plpgsql security definer set search_path = ''
as $$
declare
  v_request tunebase.inference_requests;
begin
  update tunebase.inference_requests
  set status = p_result ->> 'status',
    http_status = (p_result ->> 'http_status')::integer,
    error_code = p_result ->> 'error_code',
    prompt_tokens = (p_result ->> 'prompt_tokens')::integer,
    completion_tokens = (p_result ->> 'completion_tokens')::integer,
    first_token_ms = (p_result ->> 'first_token_ms')::integer,
    seconds = (p_result ->> 'seconds')::numeric,
    cost_usd = tunebase_internal.inference_cost(
      base_model, (p_result ->> 'prompt_tokens')::bigint, (p_result ->> 'completion_tokens')::bigint,
      (p_result ->> 'seconds')::numeric
    ),
    finished_at = now()
  where id = p_id and status = 'open'
  returning * into v_request;
  if not found then
    return false;
  end if;
  -- Locked in this order everywhere, so that two requests cannot deadlock.
  if v_request.cost_usd > 0 then
    insert into tunebase_internal.inference_spend as s (project_id, month, cost_usd)
    values (
      v_request.project_id, date_trunc('month', v_request.created_at at time zone 'utc')::date, v_request.cost_usd
    )
    on conflict (project_id, month) do update set cost_usd = s.cost_usd + excluded.cost_usd;
  end if;
  insert into tunebase.inference_usage as u (
    project_id, quarter_hour, model, api_key_id, requests, prompt_tokens, completion_tokens, seconds, cost_usd
  ) values (
    v_request.project_id, date_bin('15 minutes', v_request.created_at, '2020-01-01 00:00+00'), v_request.model,
    v_request.api_key_id, 1, v_request.prompt_tokens, v_request.completion_tokens, v_request.seconds, v_request.cost_usd
  )
  on conflict (project_id, quarter_hour, model, api_key_id) do update
  set requests = u.requests + 1,
    prompt_tokens = u.prompt_tokens + excluded.prompt_tokens,
    completion_tokens = u.completion_tokens + excluded.completion_tokens,
    seconds = u.seconds + excluded.seconds,
    cost_usd = u.cost_usd + excluded.cost_usd;
  if p_completion is not null then
    perform tunebase_internal.store_completion(v_request, p_completion);
  end if;
  return true;
end $$;

-- schemas/functions/inference/get_completion.sql
-- A stored completion. Raises completion_not_found.
create function tunebase_internal.get_completion(p_caller jsonb, p_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'files:read');
  v_completion tunebase.stored_completions;
begin
  select * into v_completion from tunebase.stored_completions
  where id = p_id and project_id = v_project_id and expires_at > now();
  if not found then
    perform tunebase_internal.raise_api_error('completion_not_found');
  end if;
  return to_jsonb(v_completion);
end $$;

-- schemas/functions/inference/get_inference_usage.sql
-- Inference usage from p_from through p_to in p_time_zone, by model or API key (p_group_by), most expensive first.
-- A null API key means signed-in users. Raises invalid_time_zone.
create function tunebase_internal.get_inference_usage(
  p_caller jsonb, p_from date, p_to date, p_time_zone text, p_group_by text
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'jobs:read');
  v_range constant tstzrange := tunebase_internal.days_to_range(p_from, p_to, p_time_zone);
  v_begin constant timestamptz := lower(v_range);
  v_end constant timestamptz := upper(v_range);
begin
  return coalesce((
    select jsonb_agg(jsonb_build_object(
      'model', g.model, 'api_key_id', g.api_key_id, 'api_key_name', k.name, 'requests', g.requests,
      'prompt_tokens', g.prompt_tokens, 'completion_tokens', g.completion_tokens, 'seconds', g.seconds, 'cost_usd', g.cost_usd
    ) order by g.cost_usd desc, g.requests desc, g.model, g.api_key_id)
    from (
      select case when p_group_by = 'model' then u.model end as model,
        case when p_group_by = 'api_key' then u.api_key_id end as api_key_id,
        sum(u.requests) as requests, sum(u.prompt_tokens) as prompt_tokens, sum(u.completion_tokens) as completion_tokens,
        sum(u.seconds) as seconds, sum(u.cost_usd) as cost_usd
      from tunebase.inference_usage u
      where u.project_id = v_project_id and u.quarter_hour >= v_begin and u.quarter_hour < v_end
      group by 1, 2
      order by 7 desc, 3 desc
      limit 1000
    ) g
    left join tunebase.api_keys k on k.id = g.api_key_id and k.project_id = v_project_id
  ), '[]');
end $$;

-- schemas/functions/inference/inference_cost.sql
-- The price of these tokens and seconds, as the operator configured it for the base model.
create function tunebase_internal.inference_cost(
  p_base_model text, p_prompt_tokens bigint, p_completion_tokens bigint, p_seconds numeric
) returns numeric
language sql stable set search_path = ''
as $$
  select round(
    (
      p_prompt_tokens * inference_usd_per_million_input_tokens + p_completion_tokens * inference_usd_per_million_output_tokens
    ) / 1000000 + p_seconds * inference_usd_per_hour / 3600, 9
  )
  from tunebase.base_models where id = p_base_model
$$;

-- schemas/functions/inference/inference_reservation.sql
-- The highest possible cost of a request, to reserve from the project's cap. p_request: {max_prompt_tokens, prompts, choices,
-- max_completion_tokens}.
create function tunebase_internal.inference_reservation(p_model jsonb, p_request jsonb) returns numeric
language plpgsql stable set search_path = ''
as $$
declare
  v_context constant bigint := (p_model ->> 'max_length')::bigint;
begin
  return tunebase_internal.inference_cost(
    p_model ->> 'base_model',
    least((p_request ->> 'max_prompt_tokens')::bigint, v_context * (p_request ->> 'prompts')::bigint),
    (p_request ->> 'choices')::bigint * least(coalesce((p_request ->> 'max_completion_tokens')::bigint, v_context), v_context),
    -- RunPod's limit for one request.
    330
  );
end $$;

-- schemas/functions/inference/inference_spend.sql
-- The cost of a project's finished inference requests this month (UTC).
create function tunebase_internal.inference_spend(p_project_id uuid) returns numeric
language plpgsql stable set search_path = ''
as $$
begin
  return coalesce((
    select cost_usd from tunebase_internal.inference_spend
    where project_id = p_project_id and month = date_trunc('month', now() at time zone 'utc')::date
  ), 0);
end $$;

-- schemas/functions/inference/insert_inference_request.sql
-- Starts a request for an authorized project; see start_inference. Raises spend_cap_exceeded if its highest possible cost
-- does not fit under the project's cap.
create function tunebase_internal.insert_inference_request(
  p_project_id uuid, p_api_key_id uuid, p_user_id uuid, p_request jsonb
) returns jsonb
language plpgsql set search_path = ''
as $$
declare
  v_model jsonb := tunebase_internal.require_servable_model(p_project_id, p_request ->> 'model');
  v_reserved numeric := tunebase_internal.inference_reservation(v_model, p_request);
  v_id uuid := tunebase_internal.uuid7();
begin
  insert into tunebase.inference_requests (
    id, project_id, api_key_id, user_id, model, base_model, adapter_id, stream, reserved_usd
  ) values (
    v_id, p_project_id, p_api_key_id, p_user_id, p_request ->> 'model', v_model ->> 'base_model',
    (v_model ->> 'adapter_id')::uuid, (p_request ->> 'stream')::boolean, v_reserved
  );
  if v_reserved > 0 then
    perform tunebase_internal.require_spend_room(p_project_id, v_reserved, true);
  end if;
  return v_model || jsonb_build_object('id', v_id, 'project_id', p_project_id);
end $$;

-- schemas/functions/inference/list_completions.sql
-- Stored completions, oldest first by default, as OpenAI lists them.
create function tunebase_internal.list_completions(
  p_caller jsonb, p_filter jsonb, p_after uuid, p_ascending boolean, p_limit integer
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'files:read');
  v_rows jsonb;
begin
  if p_after is not null and not exists (
    select from tunebase.stored_completions where id = p_after and project_id = v_project_id
  ) then
    perform tunebase_internal.raise_api_error('cursor_not_found');
  end if;
  if p_ascending then
    select jsonb_agg(to_jsonb(c) order by c.id) into v_rows from (
      select * from tunebase_internal.select_completions(v_project_id, p_filter)
      where p_after is null or id > p_after
      order by id limit p_limit + 1
    ) c;
  else
    select jsonb_agg(to_jsonb(c) order by c.id desc) into v_rows from (
      select * from tunebase_internal.select_completions(v_project_id, p_filter)
      where p_after is null or id < p_after
      order by id desc limit p_limit + 1
    ) c;
  end if;
  return tunebase_internal.paginate(v_rows, p_limit);
end $$;

-- schemas/functions/inference/require_completion_storage.sql
-- Raises store_not_enabled if the project does not store completions.
create function tunebase_internal.require_completion_storage(p_project_id uuid) returns void
language plpgsql stable set search_path = ''
as $$
begin
  if not (select store_completions from tunebase.projects where id = p_project_id) then
    perform tunebase_internal.raise_api_error('store_not_enabled', jsonb_build_object(
      'param', 'store', 'project', 'proj_' || replace(p_project_id::text, '-', '')
    ));
  end if;
end $$;

-- schemas/functions/inference/require_servable_model.sql
-- Resolves a model's name to what the engine serves: {model, base_model, endpoint_id, source, revision, max_length,
-- adapter_id, adapter}. `adapter` is null for a base model, otherwise {id, rank, files: [{path, object, bytes, sha256}]} with
-- the id of the fine-tune's or the checkpoint's row. Raises model_not_found, also for models of other projects, and
-- model_not_servable.
create function tunebase_internal.require_servable_model(p_project_id uuid, p_name text) returns jsonb
language plpgsql stable set search_path = ''
as $$
declare
  v_base tunebase.base_models;
  v_found record;
  v_files jsonb;
  v_reason text;
begin
  select a.id, a.id as adapter_id, a.base_model, a.prefix, a.manifest -> 'files' as files,
    a.manifest -> 'hyperparameters' as training
  into v_found
  from tunebase.adapters a where a.name = p_name and a.project_id = p_project_id and a.deleted_at is null;
  if not found and p_name ~ '^ft:[^:]+:ftjob-[0-9a-f]{32}:ckpt-step-[0-9]{1,9}$' then
    select c.id, null::uuid as adapter_id, j.base_model, tunebase_internal.artifact_prefix(c.attempt_id) as prefix, c.files,
      j.plan as training
    into v_found
    from tunebase.checkpoints c join tunebase.jobs j on j.id = c.job_id
    where j.id = substring(p_name from 'ftjob-([0-9a-f]{32})')::uuid and j.project_id = p_project_id
      and j.base_model = split_part(p_name, ':', 2) and c.step = substring(p_name from '[0-9]+$')::integer
    -- An attempt that resumed from an earlier checkpoint may have saved this step again.
    order by c.id desc limit 1;
  end if;
  select * into v_base from tunebase.base_models
  where id = coalesce(v_found.base_model, p_name) and (enabled or v_found.id is not null);
  if not found then
    perform tunebase_internal.raise_api_error('model_not_found', jsonb_build_object(
      'model', p_name, 'offered', coalesce((
        select jsonb_agg(id order by id) from tunebase.base_models where enabled and inference_endpoint_id is not null
      ), '[]')
    ));
  end if;
  v_reason := tunebase_internal.unservable_reason(v_base, v_found.training);
  if v_found.id is not null then
    select jsonb_agg(jsonb_build_object(
      'path', f.name, 'object', v_found.prefix || '/' || (f.file ->> 'path'),
      'bytes', f.file -> 'bytes', 'sha256', f.file -> 'sha256'
    ) order by f.name) into v_files
    from (
      select file, regexp_replace(file ->> 'path', '^checkpoints/[0-9]+/', '') as name
      from jsonb_array_elements(v_found.files) file
    ) f
    where f.name in ('adapter_config.json', 'adapter_model.safetensors');
    if v_files is null then
      v_reason := coalesce(v_reason, 'It has no adapter weights.');
    end if;
  end if;
  if v_reason is not null then
    perform tunebase_internal.raise_api_error('model_not_servable', jsonb_build_object(
      'param', 'model', 'model', p_name, 'reason', v_reason
    ));
  end if;
  return jsonb_build_object(
    'model', p_name, 'base_model', v_base.id, 'endpoint_id', v_base.inference_endpoint_id, 'source', v_base.source,
    'revision', v_base.revision, 'max_length', coalesce(v_base.inference_max_length, v_base.max_length),
    'adapter_id', v_found.adapter_id,
    'adapter', case when v_found.id is not null then jsonb_build_object(
      'id', v_found.id, 'rank', tunebase_internal.adapter_rank(v_found.training), 'files', v_files
    ) end
  );
end $$;

-- schemas/functions/inference/select_completions.sql
-- The project's stored completions that match a filter: any of {model, metadata, created_after, created_before}, with times in
-- Unix seconds.
create function tunebase_internal.select_completions(p_project_id uuid, p_filter jsonb)
returns setof tunebase.stored_completions
language sql stable set search_path = ''
as $$
  select * from tunebase.stored_completions
  where project_id = p_project_id and expires_at > now()
    and (p_filter ->> 'model' is null or model = p_filter ->> 'model')
    and (p_filter -> 'metadata' is null or metadata @> (p_filter -> 'metadata'))
    and (p_filter ->> 'created_after' is null or created_at >= to_timestamp((p_filter ->> 'created_after')::double precision))
    and (p_filter ->> 'created_before' is null or created_at < to_timestamp((p_filter ->> 'created_before')::double precision))
$$;

-- schemas/functions/inference/start_inference.sql
-- Starts a request for a model: reserves its highest possible cost and records it. p_request: {model, stream, store} and the
-- fields of inference_reservation. Returns the model (require_servable_model) with the request's id and project_id.
create function tunebase_internal.start_inference(p_caller jsonb, p_request jsonb) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'inference');
begin
  if (p_request ->> 'store')::boolean then
    perform tunebase_internal.require_completion_storage(v_project_id);
  end if;
  return tunebase_internal.insert_inference_request(
    v_project_id,
    (select api_key_id from tunebase_internal.api_key_hashes where hash = decode(p_caller ->> 'key_hash', 'hex')),
    (p_caller ->> 'user_id')::uuid, p_request
  );
end $$;

-- schemas/functions/inference/store_completion.sql
-- Stores a finished request's conversation, if the project still stores completions. p_completion: {messages, tools, response, answer,
-- metadata}.
create function tunebase_internal.store_completion(p_request tunebase.inference_requests, p_completion jsonb) returns void
language sql set search_path = ''
as $$
  insert into tunebase.stored_completions (id, project_id, model, messages, tools, response, answer, metadata, expires_at)
  select p_request.id, p_request.project_id, p_request.model, p_completion -> 'messages',
    nullif(p_completion -> 'tools', 'null'), p_completion -> 'response', nullif(p_completion -> 'answer', 'null'),
    coalesce(nullif(p_completion -> 'metadata', 'null'), '{}'), now() + p.completion_retention_days * interval '1 day'
  from tunebase.projects p where p.id = p_request.project_id and p.store_completions
$$;

-- schemas/functions/inference/unservable_reason.sql
-- Why the operator's endpoint cannot serve a model; null if it can. p_training: the trainer's hyperparameters of its adapter;
-- null for a base model. plpgsql, because it caches its plan: language sql would plan it at every call.
create function tunebase_internal.unservable_reason(p_base tunebase.base_models, p_training jsonb) returns text
language plpgsql immutable set search_path = ''
as $$
begin
  return case
    when p_base.inference_endpoint_id is null then format('This server has no inference endpoint for %s.', p_base.id)
    when p_training is null then null
    -- vLLM rejects such adapters, or loads them without their expert weights and gives wrong answers.
    when p_training ->> 'lora_targets' = 'experts' then
      'Its adapter changes the model''s experts and must be merged into the base model before serving.'
    when p_training ->> 'lora_variant' = 'dora' then 'Its adapter uses DoRA and must be merged into the base model before serving.'
    when tunebase_internal.adapter_rank(p_training) > p_base.inference_max_rank then
      format(
        'Its adapter has rank %s; the endpoint serves ranks up to %s.',
        tunebase_internal.adapter_rank(p_training), p_base.inference_max_rank
      )
    when p_training ->> 'base_model' is distinct from p_base.source
      or p_training ->> 'base_revision' is distinct from p_base.revision then
      format('It was trained on a revision of %s other than the one that the endpoint serves.', p_base.id)
  end;
end $$;

-- schemas/functions/jobs/add_event.sql
-- Appends to a job's log. Numbers have no gaps because taking one updates the job's row.
create function tunebase_internal.add_event(
  p_job_id uuid, p_level text, p_message text, p_type text default 'message', p_data jsonb default null
) returns void
language plpgsql set search_path = ''
as $$
begin
  with numbered as (
    update tunebase.jobs set last_event = last_event + 1 where id = p_job_id returning id, project_id, last_event
  )
  insert into tunebase.events (job_id, project_id, number, level, type, message, data)
  select id, project_id, last_event, p_level, p_type, p_message, p_data from numbered;
end $$;

-- schemas/functions/jobs/artifact_prefix.sql
-- The Storage prefix of an attempt's files. Unique per attempt: a retry never overwrites another's files.
create function tunebase_internal.artifact_prefix(p_attempt_id uuid) returns text
language sql stable set search_path = ''
as $$
  select project_id || '/' || job_id || '/' || number from tunebase.attempts where id = p_attempt_id
$$;

-- schemas/functions/jobs/authorize_job.sql
-- A job that the caller may read. Raises job_not_found.
create function tunebase_internal.authorize_job(p_caller jsonb, p_job_id uuid) returns tunebase.jobs
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'jobs:read');
  v_job tunebase.jobs;
begin
  select * into v_job from tunebase.jobs where id = p_job_id and project_id = v_project_id;
  if not found then
    perform tunebase_internal.raise_api_error('job_not_found');
  end if;
  return v_job;
end $$;

-- schemas/functions/jobs/cancel_job.sql
-- Cancels at once; the attempt on the GPU ends when RunPod or the worker confirms it, or when its time limit expires.
create function tunebase_internal.cancel_job(p_caller jsonb, p_job_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
begin
  perform tunebase_internal.lock_job(p_caller, p_job_id);
  perform tunebase_internal.set_job_cancelled(p_job_id, 'info', 'The job was cancelled on request.');
  perform tunebase_internal.request_attempt_cancellation(p_job_id);
  return tunebase_internal.job_json(p_job_id);
end $$;

-- schemas/functions/jobs/create_job.sql
-- Creates a job with its first events, queued or waiting (waiting_status). A repeated request returns the job that it
-- created before. p_job: {base_model, training_file, validation_file, hyperparameters, plan, suffix, seed,
-- metadata, created_by, spend_cap_usd, estimate, auto_start, parent_model, warnings}; warnings become events.
create function tunebase_internal.create_job(p_caller jsonb, p_job jsonb) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'jobs:write');
  v_id uuid := tunebase_internal.find_created_resource(p_caller);
  v_training_file uuid := (p_job ->> 'training_file')::uuid;
  v_validation_file uuid := (p_job ->> 'validation_file')::uuid;
  v_auto_start boolean := coalesce((p_job ->> 'auto_start')::boolean, true);
  -- The high end of its cost estimate, at most its own cap.
  v_reserved numeric := least(
    coalesce(round((p_job #>> '{estimate,cost,usd,high}')::numeric, 4), 0), (p_job ->> 'spend_cap_usd')::numeric
  );
  v_status text;
  v_messages text[];
begin
  -- Nested, because Postgres would plan the query at every call: the plan for a null ID is cheaper than the generic one.
  if v_id is not null then
    if exists (select from tunebase.jobs where id = v_id and project_id = v_project_id) then
      return tunebase_internal.job_json(v_id);
    end if;
  end if;
  v_id := tunebase_internal.uuid7();
  v_status := tunebase_internal.waiting_status(
    tunebase_internal.lock_training_files(v_project_id, v_training_file, v_validation_file), v_auto_start
  );
  if p_job ->> 'parent_model' is not null then
    perform tunebase_internal.lock_parent_model(v_project_id, p_job ->> 'parent_model');
  end if;
  v_messages := text 'Created fine-tuning job.'
    || array(select jsonb_array_elements_text(coalesce(p_job -> 'warnings', '[]')))
    || tunebase_internal.waiting_message(v_status);

  -- One write, including the number of the last event: updating a row that this transaction has written checks the row's
  -- foreign keys again.
  insert into tunebase.jobs (
    id, project_id, status, base_model, training_file, validation_file, hyperparameters, plan, suffix, seed,
    metadata, created_by, due_at, queued_at, total_epochs, spend_cap_usd, reserved_usd, estimate, auto_start,
    parent_model, last_event
  ) values (
    v_id, v_project_id, v_status, p_job ->> 'base_model', v_training_file, v_validation_file,
    p_job -> 'hyperparameters', p_job -> 'plan', p_job ->> 'suffix', (p_job ->> 'seed')::integer,
    coalesce(p_job -> 'metadata', '{}'), p_job ->> 'created_by',
    case when v_status = 'queued' then now() end, case when v_status = 'queued' then now() end,
    (p_job -> 'plan' ->> 'num_epochs')::real, (p_job ->> 'spend_cap_usd')::numeric, v_reserved,
    nullif(p_job -> 'estimate', 'null'), v_auto_start, p_job ->> 'parent_model', cardinality(v_messages)
  );
  insert into tunebase.events (job_id, project_id, number, level, type, message)
  select v_id, v_project_id, number, case when number in (1, cardinality(v_messages)) then 'info' else 'warn' end,
    'message', message
  from unnest(v_messages) with ordinality m (message, number);
  perform tunebase_internal.record_created_resource(p_caller, v_id);
  if v_validation_file is not null and v_status <> 'validating_files' then
    perform tunebase_internal.warn_dataset_overlap(v_id);
  end if;
  if v_status = 'queued' then
    perform tunebase_internal.wake_scheduler();
  end if;
  perform tunebase_internal.require_spend_room(v_project_id, v_reserved, false);
  return tunebase_internal.job_json(v_id);
end $$;

-- schemas/functions/jobs/create_result_file.sql
-- Stores a finished job's metrics as the CSV file that OpenAI's `result_files` names. Returns its id.
create function tunebase_internal.create_result_file(p_job tunebase.jobs) returns uuid
language plpgsql set search_path = ''
as $$
declare
  v_id uuid := tunebase_internal.uuid7();
  v_content text := tunebase_internal.metrics_csv(p_job.id);
  v_bytes bytea := convert_to(v_content, 'UTF8');
begin
  if p_job.result_file is not null then
    return p_job.result_file;
  end if;
  insert into tunebase.files (id, project_id, filename, purpose, bytes, sha256, status, object)
  values (
    v_id, p_job.project_id, 'step_metrics.csv', 'fine-tune-results', octet_length(v_bytes),
    encode(sha256(v_bytes), 'hex'), 'processed',
    -- The column is unique; no object has this name, because the content is in result_contents.
    'results/' || v_id || '.csv'
  );
  insert into tunebase_internal.result_contents (file_id, content) values (v_id, v_content);
  return v_id;
end $$;

-- schemas/functions/jobs/enforce_job_quota.sql
-- Raises project_archived, or quota_exceeded at the project's limit of open jobs.
create function tunebase_internal.enforce_job_quota() returns trigger
language plpgsql set search_path = ''
as $$
declare
  v_limit integer;
  v_archived timestamptz;
  v_used integer;
begin
  -- The same lock as the foreign key's: it makes archive_project and this transaction wait for each other.
  select max_jobs, archived_at into v_limit, v_archived from tunebase.projects where id = new.project_id for key share;
  if v_archived is not null then
    perform tunebase_internal.raise_api_error('project_archived');
  end if;
  if v_limit is null then
    return new;
  end if;
  select count(*) into v_used from tunebase.jobs
  where project_id = new.project_id and tunebase_internal.is_open(status);
  -- Creates lock the project and count again only near the limit, so that they run concurrently otherwise. 100 is more than
  -- there are connections.
  if v_used > v_limit - 100 then
    perform from tunebase.projects where id = new.project_id for no key update;
    select count(*) into v_used from tunebase.jobs
    where project_id = new.project_id and tunebase_internal.is_open(status);
    if v_used >= v_limit then
      perform tunebase_internal.raise_api_error('quota_exceeded', jsonb_build_object(
        'what', 'unfinished jobs', 'limit', v_limit, 'used', v_used,
        'fix', 'Wait until some finish, cancel some, or ask the operator to raise max_jobs.'
      ));
    end if;
  end if;
  return new;
end $$;

-- schemas/functions/jobs/get_adapter.sql
create function tunebase_internal.get_adapter(p_caller jsonb, p_job_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_job jsonb := tunebase_internal.get_job(p_caller, p_job_id);
  v_adapter tunebase.adapters;
begin
  select * into v_adapter from tunebase.adapters where job_id = p_job_id;
  if not found then
    perform tunebase_internal.raise_api_error('adapter_not_ready', jsonb_build_object('status', v_job ->> 'status'));
  elsif v_adapter.deleted_at is not null then
    perform tunebase_internal.raise_api_error('adapter_deleted', jsonb_build_object('model', v_adapter.name));
  end if;
  return to_jsonb(v_adapter);
end $$;

-- schemas/functions/jobs/get_checkpoint.sql
-- A checkpoint of a job, and the prefix of its files in the bucket `tunebase-adapters`.
create function tunebase_internal.get_checkpoint(p_caller jsonb, p_job_id uuid, p_checkpoint_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_job tunebase.jobs := tunebase_internal.authorize_job(p_caller, p_job_id);
  v_checkpoint tunebase.checkpoints;
begin
  select * into v_checkpoint from tunebase.checkpoints where id = p_checkpoint_id and job_id = v_job.id;
  if not found then
    perform tunebase_internal.raise_api_error('checkpoint_not_found');
  end if;
  return to_jsonb(v_checkpoint) || jsonb_build_object(
    'model', v_job.base_model, 'prefix', tunebase_internal.artifact_prefix(v_checkpoint.attempt_id)
  );
end $$;

-- schemas/functions/jobs/get_job.sql
create function tunebase_internal.get_job(p_caller jsonb, p_job_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'jobs:read');
begin
  if not exists (select from tunebase.jobs where id = p_job_id and project_id = v_project_id) then
    perform tunebase_internal.raise_api_error('job_not_found');
  end if;
  return tunebase_internal.job_json(p_job_id);
end $$;

-- schemas/functions/jobs/get_job_metrics.sql
-- Metrics for a chart: about p_points rows. Each bucket of steps keeps its lowest and highest loss; both endpoints and every
-- validation are kept. Rows are grouped by hashing and only the chosen ones are read in full: two window functions over full
-- rows sorted 100,000 of them twice.
create function tunebase_internal.get_job_metrics(
  p_caller jsonb, p_job_id uuid, p_points integer, p_from_step integer, p_to_step integer
) returns json
language plpgsql security definer set search_path = ''
as $$
declare
  -- Read first: metrics that arrive meanwhile are returned and then streamed again, which does no harm.
  v_job tunebase.jobs := tunebase_internal.authorize_job(p_caller, p_job_id);
  v_first integer;
  v_last integer;
  v_steps integer[];
  v_total bigint;
begin
  select min(step), max(step) into v_first, v_last
  from tunebase.metrics
  where job_id = v_job.id and step between coalesce(p_from_step, 0) and coalesce(p_to_step, 2147483647);
  v_steps := array(
    select step from tunebase.metrics where job_id = v_job.id and step between v_first and v_last limit p_points + 1
  );
  v_total := cardinality(v_steps);
  if v_total > p_points then
    with rows_read as (
      -- Two rows per bucket. Arrays compare by their first element, then by their second.
      select (step - v_first)::bigint * (p_points / 2) / (v_last - v_first + 1) as bucket, step,
        case when training_loss is not null then array[training_loss, step] end as at, validation_loss
      from tunebase.metrics
      where job_id = v_job.id and step between v_first and v_last
      offset 0 -- so that each array is built once
    ), buckets as materialized (
      select count(*) as number, (min(at))[2]::integer as low, (max(at))[2]::integer as high,
        array_agg(step) filter (where validation_loss is not null) as validated
      from rows_read group by bucket
    )
    select (select sum(number) from buckets), array(
      select low from buckets union select high from buckets union select unnest(validated) from buckets
      union select unnest(array[v_first, v_last])
    ) into v_total, v_steps;
  end if;
  return json_build_object('last_event', v_job.last_event, 'total', v_total, 'points', coalesce((
    select json_agg(p order by p.step) from (
      select m.step, m.attempt, m.epoch, m.training_loss, m.validation_loss, m.learning_rate, m.gradient_norm,
        m.tokens_per_second, m.gpu_utilization, m.gpu_memory_gb
      from unnest(v_steps) as picked (step)
      join tunebase.metrics m on m.job_id = v_job.id and m.step = picked.step
    ) p
  ), '[]'));
end $$;

-- schemas/functions/jobs/index_job_metadata.sql
-- Keeps the index of a job's metadata pairs, which list_jobs filters by.
create function tunebase_internal.index_job_metadata() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  if tg_op = 'UPDATE' then
    delete from tunebase_internal.job_metadata where job_id = new.id;
  end if;
  if new.metadata <> '{}' then
    insert into tunebase_internal.job_metadata (project_id, pair, job_id)
    select new.project_id, unnest(tunebase_internal.metadata_pairs(new.metadata)), new.id;
  end if;
  return null;
end $$;

-- schemas/functions/jobs/job_json.sql
-- A job for the API: its row, why it waits, its position in the queue (1: next; 0: already sent to the GPU service), and how
-- long workers have run it; its timestamps include queues and pauses. Counting stops at 100, so that a long queue stays
-- cheap. plpgsql, because it caches its plans.
create function tunebase_internal.job_json(p_job_id uuid) returns jsonb
language plpgsql stable set search_path = ''
as $$
declare
  v_job tunebase.jobs;
begin
  select * into v_job from tunebase.jobs where id = p_job_id;
  return to_jsonb(v_job) - 'plan' || jsonb_build_object(
    'status_reason', tunebase_internal.wait_reason(v_job), 'queue', tunebase_internal.queue_position(v_job),
    'running_seconds', (
      select coalesce(round(extract(epoch from sum(coalesce(ended_at, last_report_at, started_at) - started_at))), 0)::int
      from tunebase.attempts
      where job_id = p_job_id and started_at is not null
    )
  );
end $$;

-- schemas/functions/jobs/list_checkpoints.sql
create function tunebase_internal.list_checkpoints(p_caller jsonb, p_job_id uuid, p_after uuid, p_limit integer) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_job tunebase.jobs := tunebase_internal.authorize_job(p_caller, p_job_id);
  v_rows jsonb;
begin
  if p_after is not null and not exists (select from tunebase.checkpoints where id = p_after and job_id = v_job.id) then
    perform tunebase_internal.raise_api_error('cursor_not_found');
  end if;
  select jsonb_agg(to_jsonb(c) || jsonb_build_object('model', v_job.base_model) order by c.id desc) into v_rows from (
    select * from tunebase.checkpoints
    where job_id = v_job.id and (p_after is null or id < p_after)
    order by id desc limit p_limit + 1
  ) c;
  return tunebase_internal.paginate(v_rows, p_limit);
end $$;

-- schemas/functions/jobs/list_events.sql
-- p_type: 'message', 'metrics', or null for both.
create function tunebase_internal.list_events(
  p_caller jsonb, p_job_id uuid, p_after uuid, p_limit integer, p_type text default null
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'jobs:read');
  v_before integer := 2147483647;
  v_rows jsonb;
begin
  if not exists (select from tunebase.jobs where id = p_job_id and project_id = v_project_id) then
    perform tunebase_internal.raise_api_error('job_not_found');
  end if;
  if p_after is not null then
    select number into v_before from tunebase.events where id = p_after and job_id = p_job_id;
    if not found then
      perform tunebase_internal.raise_api_error('cursor_not_found');
    end if;
  end if;
  if p_type = 'message' then
    -- A literal, as in the partial index.
    select jsonb_agg(to_jsonb(e) order by e.number desc) into v_rows from (
      select * from tunebase.events
      where job_id = p_job_id and number < v_before and type = 'message'
      order by number desc limit p_limit + 1
    ) e;
  else
    select jsonb_agg(to_jsonb(e) order by e.number desc) into v_rows from (
      select * from tunebase.events
      where job_id = p_job_id and number < v_before and (p_type is null or type = p_type)
      order by number desc limit p_limit + 1
    ) e;
  end if;
  return tunebase_internal.paginate(v_rows, p_limit);
end $$;

-- schemas/functions/jobs/list_jobs.sql
-- A page of jobs, newest first. p_filter: any of {status, model, created_after, created_before (Unix seconds; the second is
-- exclusive), metadata (all of these pairs), without_metadata: true}.
create function tunebase_internal.list_jobs(p_caller jsonb, p_after uuid, p_limit integer, p_filter jsonb) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'jobs:read');
begin
  if p_after is not null and not exists (select from tunebase.jobs where id = p_after and project_id = v_project_id) then
    perform tunebase_internal.raise_api_error('cursor_not_found');
  end if;
  return tunebase_internal.paginate(tunebase_internal.select_jobs(v_project_id, p_after, p_limit, p_filter), p_limit);
end $$;

-- schemas/functions/jobs/list_new_events.sql
-- New events of many jobs: one call for all streams of an isolate. p_watched: [{job_id, after}]. Callers were authorized when
-- each stream opened. At most 200 events per job; the next call returns the rest.
create function tunebase_internal.list_new_events(p_watched jsonb) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select coalesce(jsonb_agg(jsonb_build_object(
    'job_id', w.job_id, 'events', e.events, 'final', tunebase_internal.is_terminal(j.status), 'last_event', j.last_event
  )), '[]')
  from jsonb_to_recordset(p_watched) as w (job_id uuid, after integer)
  join tunebase.jobs j on j.id = w.job_id and (j.last_event > w.after or tunebase_internal.is_terminal(j.status))
  cross join lateral (
    select coalesce(jsonb_agg(to_jsonb(x) order by x.number), '[]') as events from (
      select * from tunebase.events where job_id = w.job_id and number > w.after order by number limit 200
    ) x
  ) e
$$;

-- schemas/functions/jobs/lock_job.sql
-- Locks a job that the caller wants to change. Raises job_not_found or job_already_finished. Locks the job's files first:
-- otherwise, a resume and the end of a validation could deadlock.
create function tunebase_internal.lock_job(p_caller jsonb, p_job_id uuid) returns tunebase.jobs
language plpgsql set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'jobs:write');
  v_job tunebase.jobs;
begin
  select * into v_job from tunebase.jobs where id = p_job_id and project_id = v_project_id;
  perform tunebase_internal.lock_unvalidated_files(v_job.training_file, v_job.validation_file);
  select * into v_job from tunebase.jobs where id = p_job_id and project_id = v_project_id for no key update;
  if not found then
    perform tunebase_internal.raise_api_error('job_not_found');
  elsif tunebase_internal.is_terminal(v_job.status) then
    perform tunebase_internal.raise_api_error('job_already_finished', jsonb_build_object('status', v_job.status));
  end if;
  return v_job;
end $$;

-- schemas/functions/jobs/lock_parent_model.sql
-- Locks the fine-tuned model that a new job continues from, so that it cannot be deleted before the job exists.
create function tunebase_internal.lock_parent_model(p_project_id uuid, p_name text) returns void
language plpgsql set search_path = ''
as $$
begin
  perform from tunebase.adapters where name = p_name and project_id = p_project_id and deleted_at is null for share;
  if not found then
    perform tunebase_internal.raise_api_error('model_not_found', jsonb_build_object('model', p_name));
  end if;
end $$;

-- schemas/functions/jobs/lock_training_files.sql
-- Checks a new job's files and locks them until the job exists, so that they cannot be deleted, and a validation cannot
-- finish without seeing the job. Returns true if one is still being validated.
create function tunebase_internal.lock_training_files(p_project_id uuid, p_training_file uuid, p_validation_file uuid)
returns boolean
language plpgsql set search_path = ''
as $$
declare
  v_unvalidated boolean;
begin
  perform from tunebase.files where id in (p_training_file, p_validation_file) order by id for key share;
  v_unvalidated := tunebase_internal.lock_unvalidated_files(p_training_file, p_validation_file);
  perform tunebase_internal.require_training_file(p_project_id, p_training_file, 'training_file');
  if p_validation_file is not null then
    perform tunebase_internal.require_training_file(p_project_id, p_validation_file, 'validation_file');
  end if;
  return v_unvalidated;
end $$;

-- schemas/functions/jobs/metadata_pairs.sql
-- The pairs of {"key": "value", …}, each as a hash.
create function tunebase_internal.metadata_pairs(p_metadata jsonb) returns uuid[]
language plpgsql immutable set search_path = ''
as $$
begin
  return array(select md5(jsonb_build_object(key, value)::text)::uuid from jsonb_each(p_metadata));
end $$;

-- schemas/functions/jobs/metrics_csv.sql
-- OpenAI's columns, then ours. Unknown values are empty; the trainer measures no accuracy.
create function tunebase_internal.metrics_csv(p_job_id uuid) returns text
language sql stable set search_path = ''
as $$
  select 'step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy,epoch,learning_rate,gradient_norm,tokens_per_second' || E'\n'
    || coalesce(string_agg(
      concat(step, ',', training_loss, ',,', validation_loss, ',,', epoch, ',', learning_rate, ',', gradient_norm, ',', tokens_per_second, E'\n'),
      '' order by step
    ), '')
  from tunebase.metrics where job_id = p_job_id
$$;

-- schemas/functions/jobs/open_event_stream.sql
-- Authorizes an event stream and returns where it begins.
create function tunebase_internal.open_event_stream(p_caller jsonb, p_job_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_job tunebase.jobs := tunebase_internal.authorize_job(p_caller, p_job_id);
begin
  return jsonb_build_object('job_id', v_job.id, 'last_event', v_job.last_event, 'final', tunebase_internal.is_terminal(v_job.status));
end $$;

-- schemas/functions/jobs/pause_job.sql
-- Pauses at once while no worker has claimed the job; otherwise the worker's next directive is to save a checkpoint and
-- stop. A repeated call changes nothing.
create function tunebase_internal.pause_job(p_caller jsonb, p_job_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_job tunebase.jobs := tunebase_internal.lock_job(p_caller, p_job_id);
begin
  if v_job.status = 'running' and not v_job.pause_requested then
    update tunebase.jobs set pause_requested = true where id = p_job_id;
    perform tunebase_internal.add_event(p_job_id, 'info', 'Pause requested. The trainer will save a checkpoint and stop.');
  elsif v_job.status in ('queued', 'validating_files') then
    perform tunebase_internal.set_job_paused(p_job_id);
    perform tunebase_internal.request_attempt_cancellation(p_job_id);
  end if;
  return tunebase_internal.job_json(p_job_id);
end $$;

-- schemas/functions/jobs/queue_position.sql
-- A job's position in the whole queue and among its project's jobs; null if it is not queued. Each count stops at 100: with
-- 1,000, it took 40% of a create_job in a long queue. One pass over the head of the queue yields both, unless more jobs
-- of several projects are ahead.
--
-- The two settings make the planner follow the queue's indexes, which end at the limit. Before the table has statistics it
-- expects one row, and would read the whole queue with a bitmap or sort it: a third of create_job after 6,000 jobs.
create function tunebase_internal.queue_position(p_job tunebase.jobs) returns jsonb
language plpgsql stable set search_path = '' set enable_bitmapscan = off set enable_sort = off
as $$
declare
  v_ahead integer := 0;
  v_ahead_in_project integer := 0;
begin
  if p_job.status <> 'queued' then
    return null;
  elsif p_job.due_at = 'infinity' then
    return '{"position": 0, "position_in_project": 0}';
  end if;
  select count(*), count(*) filter (where project_id = p_job.project_id) into v_ahead, v_ahead_in_project from (
    select project_id from tunebase.jobs
    where status = 'queued' and due_at < 'infinity' and (due_at, id) < (p_job.due_at, p_job.id)
    order by due_at, id limit 100
  ) ahead;
  if v_ahead = 100 and v_ahead_in_project < 100 then
    select count(*) into v_ahead_in_project from (
      select from tunebase.jobs
      where project_id = p_job.project_id and status = 'queued' and due_at < 'infinity'
        and (due_at, id) < (p_job.due_at, p_job.id)
      order by due_at, id limit 100
    ) ahead;
  end if;
  return jsonb_build_object('position', 1 + v_ahead, 'position_in_project', 1 + v_ahead_in_project);
end $$;

-- schemas/functions/jobs/record_speed.sql
-- Adds a succeeded job to its base model's measured speed. Ignores jobs of fewer than 20 steps, which mostly measure startup.
create function tunebase_internal.record_speed(p_job tunebase.jobs, p_gpu_config jsonb) returns void
language sql set search_path = ''
as $$
  update tunebase.base_models b
  set measured_jobs = case when b.measured_gpus = g.gpus then b.measured_jobs else 0 end + 1,
    measured_tokens_per_second = case when b.measured_gpus = g.gpus
      then b.measured_tokens_per_second
        + (p_job.tokens_per_second - b.measured_tokens_per_second) / least(b.measured_jobs + 1, 10)
      else p_job.tokens_per_second end,
    measured_gpus = g.gpus
  from (select (p_gpu_config ->> 'num_gpus') || ' × ' || (p_gpu_config ->> 'gpu_type') as gpus) g
  where b.id = p_job.base_model and p_job.tokens_per_second > 0 and p_job.total_steps >= 20
$$;

-- schemas/functions/jobs/require_training_file.sql
-- Checks a file for a new job: it must belong to the project, be for training, and not be invalid. One that is still being
-- validated is accepted: the job waits for it.
create function tunebase_internal.require_training_file(p_project_id uuid, p_file_id uuid, p_param text) returns uuid
language plpgsql stable set search_path = ''
as $$
declare
  v_file tunebase.files;
begin
  select * into v_file from tunebase.files
  where id = p_file_id and project_id = p_project_id and deleted_at is null;
  if not found then
    perform tunebase_internal.raise_api_error('file_not_found', jsonb_build_object('param', p_param));
  elsif v_file.purpose <> 'fine-tune' then
    perform tunebase_internal.raise_api_error('wrong_purpose', jsonb_build_object('param', p_param, 'purpose', v_file.purpose));
  elsif v_file.status = 'error' then
    perform tunebase_internal.raise_api_error('file_not_ready', jsonb_build_object('param', p_param, 'status', v_file.status));
  end if;
  return v_file.id;
end $$;

-- schemas/functions/jobs/resume_job.sql
-- Resumes a paused job (or one that is waiting to be started), or cancels a pause request.
create function tunebase_internal.resume_job(p_caller jsonb, p_job_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_job tunebase.jobs := tunebase_internal.lock_job(p_caller, p_job_id);
begin
  if v_job.status = 'paused' then
    perform tunebase_internal.unpause_job(p_job_id, 'The job was resumed; it is queued for a GPU.');
  elsif v_job.pause_requested then
    update tunebase.jobs set pause_requested = false where id = p_job_id;
    perform tunebase_internal.add_event(p_job_id, 'info', 'Pause request cancelled.');
  else
    perform tunebase_internal.raise_api_error('job_not_paused', jsonb_build_object('status', v_job.status));
  end if;
  return tunebase_internal.job_json(p_job_id);
end $$;

-- schemas/functions/jobs/select_jobs.sql
-- The rows of list_jobs: p_limit + 1 of them, to detect whether there are more.
--
-- force_custom_plan: each call is planned with its own values. A null filter then disappears from the plan, and every
-- combination of filters scans a suitable index and stops at the limit, which a generic plan cannot do.
create function tunebase_internal.select_jobs(p_project_id uuid, p_after uuid, p_limit integer, p_filter jsonb) returns jsonb
language plpgsql stable set search_path = '' set plan_cache_mode = 'force_custom_plan'
as $$
declare
  v_status text := p_filter ->> 'status';
  v_model text := p_filter ->> 'model';
  v_plain boolean := p_filter ? 'without_metadata';
  v_metadata jsonb := p_filter -> 'metadata';
  v_pair uuid := (tunebase_internal.metadata_pairs(v_metadata))[1];
  v_from timestamptz := to_timestamp((p_filter ->> 'created_after')::double precision);
  v_until timestamptz := to_timestamp((p_filter ->> 'created_before')::double precision);
  -- Ids sort by time, so the list's own index serves a range of times. An id is made while its transaction runs, a little
  -- later than created_at, which is the transaction's start.
  v_first_id uuid := tunebase_internal.uuid7_lower_bound(v_from);
  v_end_id uuid := tunebase_internal.uuid7_lower_bound(v_until + interval '10 minutes');
  v_rows jsonb;
begin
  v_end_id := least(v_end_id, p_after);
  if v_pair is null then
    select jsonb_agg(to_jsonb(j) - 'plan' order by j.id desc) into v_rows from (
      select * from tunebase.jobs
      where project_id = p_project_id
        and (v_first_id is null or id >= v_first_id) and (v_end_id is null or id < v_end_id)
        and (v_from is null or created_at >= v_from) and (v_until is null or created_at < v_until)
        and (v_status is null or status = v_status) and (v_model is null or base_model = v_model)
        and (not v_plain or metadata = '{}')
      order by id desc limit p_limit + 1
    ) j;
  else
    select jsonb_agg(to_jsonb(j) - 'plan' order by j.id desc) into v_rows from (
      -- `offset 0` keeps the planner from joining all jobs that match: the pairs' order is the list's, and the limit ends it.
      select j.* from tunebase_internal.job_metadata m
      cross join lateral (select * from tunebase.jobs where id = m.job_id offset 0) j
      where m.project_id = p_project_id and m.pair = v_pair and j.metadata @> v_metadata
        and (v_first_id is null or m.job_id >= v_first_id) and (v_end_id is null or m.job_id < v_end_id)
        and (v_from is null or j.created_at >= v_from) and (v_until is null or j.created_at < v_until)
        and (v_status is null or j.status = v_status) and (v_model is null or j.base_model = v_model)
        and (not v_plain or j.metadata = '{}')
      order by m.job_id desc limit p_limit + 1
    ) j;
  end if;
  return v_rows;
end $$;

-- schemas/functions/jobs/start_job.sql
-- Starts a job that was created with auto_start false. A repeated call changes nothing.
create function tunebase_internal.start_job(p_caller jsonb, p_job_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_job tunebase.jobs := tunebase_internal.lock_job(p_caller, p_job_id);
begin
  if v_job.status = 'validating_files' then
    -- It is queued as soon as its files are valid.
    update tunebase.jobs set auto_start = true where id = p_job_id;
  elsif v_job.status = 'paused' and not v_job.auto_start then
    perform tunebase_internal.unpause_job(p_job_id, 'The job was started; it is queued for a GPU.');
  elsif v_job.status = 'paused' or v_job.pause_requested then
    perform tunebase_internal.raise_api_error('job_already_started');
  end if;
  return tunebase_internal.job_json(p_job_id);
end $$;

-- schemas/functions/jobs/wait_reason.sql
-- Why a job is waiting, as the end of a sentence; null if it is not waiting.
create function tunebase_internal.wait_reason(p_job tunebase.jobs) returns text
language plpgsql stable set search_path = ''
as $$
declare
  v_limit integer;
begin
  if p_job.status = 'validating_files' then
    return 'its files are being validated';
  elsif p_job.status = 'paused' and not p_job.auto_start then
    return 'it is waiting to be started';
  elsif p_job.status <> 'queued' then
    return null;
  elsif p_job.status_reason is not null then
    return p_job.status_reason;
  elsif p_job.due_at = 'infinity' then
    return 'the GPU service has not started it yet';
  elsif p_job.due_at > now() then
    return format('it will be retried in %s s', ceil(extract(epoch from p_job.due_at - now())));
  end if;
  select max_running into v_limit from tunebase.projects
  where id = p_job.project_id and max_running <= (
    select count(*) from tunebase.attempts where project_id = p_job.project_id and state <> 'ended'
  );
  if found then
    return format('the project has reached its limit of %s concurrent jobs', v_limit);
  end if;
  return 'it is about to be sent to the GPU service';
end $$;

-- schemas/functions/jobs/warn_dataset_overlap.sql
-- Warns in a job's log if its two files have rows in common.
create function tunebase_internal.warn_dataset_overlap(p_job_id uuid) returns void
language plpgsql set search_path = ''
as $$
declare
  v_overlap jsonb;
begin
  select tunebase_internal.file_overlap(training_file, validation_file) into v_overlap
  from tunebase.jobs where id = p_job_id and validation_file is not null;
  if (v_overlap ->> 'rows')::bigint > 0 then
    perform tunebase_internal.add_event(
      p_job_id, 'warn',
      format(
        '%s%s rows of the validation file are also in the training file, so the validation loss will be too optimistic.',
        case when (v_overlap -> 'exact')::boolean then '' else 'About ' end, v_overlap ->> 'rows'
      ),
      'message', jsonb_build_object('overlap', v_overlap)
    );
  end if;
end $$;

-- schemas/functions/members/answer_invitation.sql
-- Accepts or declines an invitation, deletes it and returns it. Only a user who has confirmed the address can answer, and a
-- user who accepts ownership must not already own the maximum of projects.
create function tunebase_internal.answer_invitation(p_caller jsonb, p_id uuid, p_accept boolean) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_user_id uuid := tunebase_internal.require_user_id(p_caller);
  v_invitation tunebase_internal.invitations;
begin
  delete from tunebase_internal.invitations i using auth.users u
  where i.id = p_id and i.expires_at > now()
    and u.id = v_user_id and u.email_confirmed_at is not null and lower(u.email) = i.email
  returning i.* into v_invitation;
  if not found then
    perform tunebase_internal.raise_api_error('invitation_not_found');
  end if;
  if p_accept then
    if v_invitation.role = 'owner' then
      perform tunebase_internal.require_project_room(v_user_id);
    end if;
    insert into tunebase.project_members (project_id, user_id, role)
    values (v_invitation.project_id, v_user_id, v_invitation.role)
    on conflict do nothing;
  end if;
  return to_jsonb(v_invitation);
end $$;

-- schemas/functions/members/delete_invitation.sql
create function tunebase_internal.delete_invitation(p_caller jsonb, p_project_id uuid, p_id uuid) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  perform tunebase_internal.authorize_project(p_caller, p_project_id, 'project:admin');
  delete from tunebase_internal.invitations where id = p_id and project_id = p_project_id;
  if not found then
    perform tunebase_internal.raise_api_error('invitation_not_found');
  end if;
end $$;

-- schemas/functions/members/invite_member.sql
-- Invites a user by email address. The result does not reveal whether the address has an account. Inviting an address again
-- updates the role and extends the invitation.
create function tunebase_internal.invite_member(p_caller jsonb, p_project_id uuid, p_email text, p_role text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_invitation tunebase_internal.invitations;
  v_pending integer;
begin
  perform tunebase_internal.authorize_project(p_caller, p_project_id, 'project:admin');
  perform from tunebase.projects where id = p_project_id for no key update;
  -- Owners can see the members anyway.
  if exists (
    select from tunebase.project_members m join auth.users u on u.id = m.user_id
    where m.project_id = p_project_id and lower(u.email) = lower(p_email)
  ) then
    perform tunebase_internal.raise_api_error('member_exists', jsonb_build_object('email', p_email));
  end if;
  select count(*) into v_pending from tunebase_internal.invitations
  where project_id = p_project_id and expires_at > now() and email <> lower(p_email);
  if v_pending >= 50 then
    perform tunebase_internal.raise_api_error('quota_exceeded', jsonb_build_object(
      'what', 'pending invitations per project', 'limit', 50, 'used', v_pending, 'fix', 'Revoke one and try again.'
    ));
  end if;
  insert into tunebase_internal.invitations as i (project_id, email, role) values (p_project_id, lower(p_email), p_role)
  on conflict (project_id, email) do update
  set role = excluded.role, created_at = now(), expires_at = now() + interval '14 days'
  returning * into v_invitation;
  return to_jsonb(v_invitation);
end $$;

-- schemas/functions/members/list_invitations.sql
create function tunebase_internal.list_invitations(p_caller jsonb, p_project_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
begin
  perform tunebase_internal.authorize_project(p_caller, p_project_id, 'project:admin');
  return coalesce((
    select jsonb_agg(to_jsonb(i) order by i.id desc) from tunebase_internal.invitations i
    where i.project_id = p_project_id and i.expires_at > now()
  ), '[]');
end $$;

-- schemas/functions/members/list_members.sql
-- Lists a project's members.
create function tunebase_internal.list_members(p_caller jsonb, p_project_id uuid, p_after uuid, p_limit integer) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_since timestamptz;
  v_rows jsonb;
begin
  perform tunebase_internal.authorize_project(p_caller, p_project_id, 'project:read');
  if p_after is not null then
    select created_at into v_since from tunebase.project_members where project_id = p_project_id and user_id = p_after;
    if not found then
      perform tunebase_internal.raise_api_error('cursor_not_found');
    end if;
  end if;
  select jsonb_agg(to_jsonb(x) order by x.created_at, x.user_id) into v_rows from (
    select m.*, u.email from tunebase.project_members m
    join auth.users u on u.id = m.user_id
    where m.project_id = p_project_id and (v_since is null or (m.created_at, m.user_id) > (v_since, p_after))
    order by m.created_at, m.user_id limit p_limit + 1
  ) x;
  return tunebase_internal.paginate(v_rows, p_limit);
end $$;

-- schemas/functions/members/list_user_invitations.sql
-- The invitations to a user's confirmed email address.
create function tunebase_internal.list_user_invitations(p_caller jsonb) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select coalesce(jsonb_agg(to_jsonb(i) || jsonb_build_object('project_name', p.name) order by i.id desc), '[]')
  from auth.users u
  join tunebase_internal.invitations i on i.email = lower(u.email) and i.expires_at > now()
  join tunebase.projects p on p.id = i.project_id
  where u.id = (p_caller ->> 'user_id')::uuid and u.email_confirmed_at is not null
$$;

-- schemas/functions/members/lock_member.sql
-- Locks a project's members and checks one of them. Raises member_not_found, or last_owner if the change would leave the
-- project without an owner.
create function tunebase_internal.lock_member(p_project_id uuid, p_user_id uuid, p_new_role text) returns void
language plpgsql set search_path = ''
as $$
declare
  v_role text;
begin
  -- Locks the project instead of its members, so that two owners cannot both leave at once.
  perform from tunebase.projects where id = p_project_id for no key update;
  select role into v_role from tunebase.project_members where project_id = p_project_id and user_id = p_user_id;
  if not found then
    perform tunebase_internal.raise_api_error('member_not_found');
  end if;
  if v_role = 'owner' and p_new_role is distinct from 'owner' and not exists (
    select from tunebase.project_members
    where project_id = p_project_id and user_id <> p_user_id and role = 'owner'
  ) then
    perform tunebase_internal.raise_api_error('last_owner');
  end if;
end $$;

-- schemas/functions/members/remove_member.sql
-- Removes a member, who can be the caller. Their API keys stay, because keys belong to the project. Disables email channels
-- with their address.
create function tunebase_internal.remove_member(p_caller jsonb, p_project_id uuid, p_user_id uuid) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_channel_id uuid;
begin
  perform tunebase_internal.authorize_project(
    p_caller, p_project_id,
    case when (p_caller ->> 'user_id')::uuid = p_user_id then 'project:read' else 'project:admin' end
  );
  perform tunebase_internal.lock_member(p_project_id, p_user_id, null);
  for v_channel_id in
    select c.id from tunebase.notification_channels c
    where c.project_id = p_project_id and c.kind = 'email' and c.enabled
      and lower(c.target) = (select lower(u.email) from auth.users u where u.id = p_user_id)
    order by c.id
  loop
    perform tunebase_internal.disable_subscriber(v_channel_id, 'its address no longer belongs to a project member', false);
  end loop;
  delete from tunebase.project_members where project_id = p_project_id and user_id = p_user_id;
end $$;

-- schemas/functions/members/update_member.sql
-- Changes a member's role. Raises last_owner, or quota_exceeded if the new owner already owns the maximum of projects.
create function tunebase_internal.update_member(p_caller jsonb, p_project_id uuid, p_user_id uuid, p_role text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
begin
  perform tunebase_internal.authorize_project(p_caller, p_project_id, 'project:admin');
  if p_role = 'owner' and exists (
    select from tunebase.project_members where project_id = p_project_id and user_id = p_user_id and role <> 'owner'
  ) then
    perform tunebase_internal.require_project_room(p_user_id);
  end if;
  perform tunebase_internal.lock_member(p_project_id, p_user_id, p_role);
  update tunebase.project_members set role = p_role where project_id = p_project_id and user_id = p_user_id;
  return (
    select to_jsonb(m) || jsonb_build_object('email', u.email)
    from tunebase.project_members m join auth.users u on u.id = m.user_id
    where m.project_id = p_project_id and m.user_id = p_user_id
  );
end $$;

-- schemas/functions/models/base_model_json.sql
-- A base model for the API. plpgsql, because it caches its plan.
create function tunebase_internal.base_model_json(p_model tunebase.base_models) returns jsonb
language plpgsql stable set search_path = ''
as $$
begin
  return to_jsonb(p_model) || jsonb_build_object('servable_reason', tunebase_internal.unservable_reason(p_model, null));
end $$;

-- schemas/functions/models/delete_model.sql
-- Deletes a fine-tune of the project and orphans its files and those of its checkpoints. Raises model_in_use while an open
-- job continues from it.
create function tunebase_internal.delete_model(p_caller jsonb, p_name text) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'jobs:write');
  v_adapter tunebase.adapters;
begin
  -- The job's row first: every function takes its locks in this order.
  perform 1 from tunebase.jobs where fine_tuned_model = p_name and project_id = v_project_id for no key update;
  update tunebase.adapters set deleted_at = now()
  where name = p_name and project_id = v_project_id and deleted_at is null
  returning * into v_adapter;
  if not found then
    perform tunebase_internal.require_base_model(p_name);
    perform tunebase_internal.raise_api_error('model_not_own', jsonb_build_object('model', p_name));
  end if;
  if exists (
    select from tunebase.jobs where parent_model = p_name and not tunebase_internal.is_terminal(status)
  ) then
    perform tunebase_internal.raise_api_error('model_in_use', jsonb_build_object('model', p_name));
  end if;
  with checkpoints as (
    delete from tunebase.checkpoints where job_id = v_adapter.job_id returning attempt_id, files
  ), files as (
    select v_adapter.prefix as prefix, v_adapter.manifest -> 'files' as files
    union all
    select tunebase_internal.artifact_prefix(attempt_id), files from checkpoints
  )
  insert into tunebase_internal.orphaned_objects (bucket, object)
  select 'tunebase-adapters', f.prefix || '/' || (one ->> 'path')
  from files f, jsonb_array_elements(f.files) one
  on conflict do nothing;
  perform tunebase_internal.add_event(v_adapter.job_id, 'info', format('The model %s was deleted on request.', p_name));
end $$;

-- schemas/functions/models/find_model.sql
-- A model by name: {offered} for a base model, {own} for a fine-tune. Raises model_not_found.
create function tunebase_internal.find_model(p_caller jsonb, p_name text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'models:read');
  v_adapter tunebase.adapters;
begin
  select * into v_adapter from tunebase.adapters
  where name = p_name and project_id = v_project_id and deleted_at is null;
  if found then
    return jsonb_build_object('own', tunebase_internal.fine_tune_json(v_adapter));
  end if;
  return jsonb_build_object('offered', tunebase_internal.require_base_model(p_name));
end $$;

-- schemas/functions/models/fine_tune_json.sql
-- A fine-tune for the API.
create function tunebase_internal.fine_tune_json(p_adapter tunebase.adapters) returns jsonb
language sql stable set search_path = ''
as $$
  select jsonb_build_object(
    'name', p_adapter.name, 'created_at', p_adapter.created_at, 'project_id', p_adapter.project_id,
    'base_model', p_adapter.base_model, 'job_id', p_adapter.job_id, 'bytes', p_adapter.bytes,
    'servable_reason', (
      select tunebase_internal.unservable_reason(b, coalesce(p_adapter.manifest -> 'hyperparameters', '{}'))
      from tunebase.base_models b where b.id = p_adapter.base_model
    )
  )
$$;

-- schemas/functions/models/list_models.sql
-- The enabled base models and the project's own fine-tunes: {offered, own}, newest fine-tune first.
create function tunebase_internal.list_models(p_caller jsonb) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'models:read');
begin
  return jsonb_build_object(
    'offered', coalesce((select jsonb_agg(tunebase_internal.base_model_json(m) order by m.id) from tunebase.base_models m where m.enabled), '[]'),
    'own', coalesce((
      select jsonb_agg(tunebase_internal.fine_tune_json(a) order by a.id desc)
      from tunebase.adapters a where a.project_id = v_project_id and a.deleted_at is null
    ), '[]')
  );
end $$;

-- schemas/functions/models/require_base_model.sql
-- An enabled base model for the API. Raises model_not_found.
create function tunebase_internal.require_base_model(p_id text) returns jsonb
language plpgsql set search_path = ''
as $$
declare
  v_model tunebase.base_models;
begin
  select * into v_model from tunebase.base_models where id = p_id and enabled;
  if not found then
    perform tunebase_internal.raise_api_error('model_not_found', jsonb_build_object(
      'model', p_id,
      'offered', coalesce((select jsonb_agg(id order by id) from tunebase.base_models where enabled), '[]')
    ));
  end if;
  return tunebase_internal.base_model_json(v_model);
end $$;

-- schemas/functions/monitoring/get_installation_metrics.sql
-- The values of GET /metrics over all projects: {metric: [{label: value, …, "value": number}, …]}. The metrics are declared
-- in _shared/contracts/installation_metrics.ts.
--
-- Counters count from midnight UTC, so that their cost does not grow with the installation's age; Prometheus handles the
-- reset. Only the month's spending reads further back, from an index alone. No label may hold a project, a fine-tuned model
-- or a user: their number is not bounded.
create function tunebase_internal.get_installation_metrics() returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_day constant timestamptz := date_trunc('day', now() at time zone 'utc') at time zone 'utc';
  v_month constant timestamptz := date_trunc('month', now() at time zone 'utc') at time zone 'utc';
  -- A request takes at most 330 s, and is looked up by its start.
  v_recent constant uuid := tunebase_internal.uuid7_lower_bound(now() - interval '10 minutes');
begin
  return (
    with open_jobs as materialized (
      select base_model, status, count(*) as jobs, min(queued_at) filter (where status = 'queued') as oldest
      from tunebase.jobs where tunebase_internal.is_open(status) group by 1, 2
    ), models as (
      select id as base_model from tunebase.base_models where enabled
      union
      select base_model from open_jobs
    ), finished_jobs as materialized (
      select status, error_code, count(*) as jobs, sum(trained_tokens) as tokens
      from tunebase.jobs where finished_at >= v_day group by 1, 2
    ), live_attempts as materialized (
      select * from tunebase.attempts where state <> 'ended'
    ), ended_attempts as materialized (
      select outcome, started_at, ended_at, gpu_config from tunebase.attempts where ended_at >= v_day
    ), gpu_use as (
      select gpu_config, ended_at, started_at from ended_attempts where started_at is not null
      union all
      select gpu_config, now(), started_at from live_attempts where started_at is not null
    ), recent_requests as materialized (
      select seconds, first_token_ms from tunebase.inference_requests where id >= v_recent and status = 'succeeded'
    ), used as (
      select sum(requests) as requests, sum(prompt_tokens) as prompt, sum(completion_tokens) as completion,
        sum(seconds) as seconds
      from tunebase.inference_usage where quarter_hour >= v_day
    ), pending as (
      select count(*) as deliveries, min(next_at) as due from tunebase.webhook_deliveries where status = 'pending'
    ), lines (metric, sample) as (
      -- A line for each model; the API adds zeros for the other statuses.
      select 'tunebase_jobs', jsonb_build_object('status', 'queued', 'base_model', m.base_model, 'value', coalesce(o.jobs, 0))
      from models m
      left join open_jobs o on o.base_model = m.base_model and o.status = 'queued'
      union all
      select 'tunebase_jobs', jsonb_build_object('status', status, 'base_model', base_model, 'value', jobs)
      from open_jobs where status <> 'queued'
      union all
      select 'tunebase_queue_oldest_wait_seconds', jsonb_build_object('base_model', m.base_model, 'value',
        round(extract(epoch from coalesce(now() - o.oldest, interval '0')), 3))
      from models m
      left join open_jobs o on o.base_model = m.base_model and o.status = 'queued'
      union all
      select 'tunebase_jobs_finished_total', jsonb_build_object('status', status, 'value', sum(jobs))
      from finished_jobs group by status
      union all
      select 'tunebase_jobs_failed_total', jsonb_build_object('code', error_code, 'value', jobs)
      from finished_jobs where status = 'failed'
      union all
      select 'tunebase_trained_tokens_total', jsonb_build_object('value', coalesce(sum(tokens), 0)) from finished_jobs
      union all
      select 'tunebase_attempts', jsonb_build_object('state', state, 'endpoint', endpoint_id, 'value', count(*))
      from live_attempts group by state, endpoint_id
      union all
      select 'tunebase_attempts_ended_total', jsonb_build_object('outcome', outcome, 'value', count(*))
      from ended_attempts group by outcome
      union all
      select 'tunebase_heartbeat_age_seconds', jsonb_build_object('value',
        round(extract(epoch from coalesce(max(now() - coalesce(last_report_at, started_at)), interval '0')), 3))
      from live_attempts where state = 'running'
      union all
      select 'tunebase_gpu_seconds_total', jsonb_build_object('gpu_type', gpu_config ->> 'gpu_type', 'value',
        round(sum(extract(epoch from ended_at - greatest(started_at, v_day)) * (gpu_config ->> 'num_gpus')::numeric), 3))
      from gpu_use group by gpu_config ->> 'gpu_type'
      union all
      select 'tunebase_month_spend_usd', jsonb_build_object('kind', 'training', 'value', coalesce((
          select sum(cost_usd) from tunebase.attempts where ended_at >= v_month and started_at >= v_month
        ), 0) + coalesce((
          select sum(cost_usd) from live_attempts where started_at >= v_month
        ), 0))
      union all
      select 'tunebase_month_spend_usd', jsonb_build_object('kind', 'inference', 'value', coalesce(sum(cost_usd), 0))
      from tunebase_internal.inference_spend where month = (v_month at time zone 'utc')::date
      union all
      select 'tunebase_inference_requests_total', jsonb_build_object('value', coalesce(requests, 0)) from used
      union all
      select 'tunebase_inference_tokens_total', jsonb_build_object('kind', 'prompt', 'value', coalesce(prompt, 0)) from used
      union all
      select 'tunebase_inference_tokens_total',
        jsonb_build_object('kind', 'completion', 'value', coalesce(completion, 0))
      from used
      union all
      select 'tunebase_inference_seconds_total', jsonb_build_object('value', coalesce(seconds, 0)) from used
      union all
      select 'tunebase_inference_failures_total', jsonb_build_object('code', coalesce(error_code, status), 'value', count(*))
      from tunebase.inference_requests
      where id >= tunebase_internal.uuid7_lower_bound(v_day) and status in ('failed', 'abandoned')
      group by coalesce(error_code, status)
      union all
      select 'tunebase_inference_duration_seconds', jsonb_build_object('quantile', q.quantile::text, 'value', round((
          select percentile_cont(q.quantile) within group (order by seconds) from recent_requests
        )::numeric, 3))
      from unnest(array[0.5, 0.95, 0.99]) q (quantile)
      where exists (select from recent_requests)
      union all
      select 'tunebase_inference_first_token_seconds', jsonb_build_object('quantile', q.quantile::text, 'value', round((
          select percentile_cont(q.quantile) within group (order by first_token_ms) from recent_requests
        )::numeric / 1000, 3))
      from unnest(array[0.5, 0.95, 0.99]) q (quantile)
      where exists (select from recent_requests where first_token_ms is not null)
      union all
      select 'tunebase_inference_open_requests', jsonb_build_object('value', count(*))
      from tunebase.inference_requests where status = 'open'
      union all
      select 'tunebase_outbox_events', jsonb_build_object('value', count(*))
      from tunebase_internal.outbox where fanned_out_at is null
      union all
      select 'tunebase_deliveries_pending', jsonb_build_object('value', deliveries) from pending
      union all
      select 'tunebase_delivery_delay_seconds', jsonb_build_object('value',
        round(extract(epoch from greatest(now() - due, interval '0')), 3))
      from pending
      union all
      select 'tunebase_deliveries_dead', jsonb_build_object('value', count(*))
      from tunebase.webhook_deliveries where status = 'dead'
      union all
      select 'tunebase_receivers_failing', jsonb_build_object('value', count(*)) from tunebase_internal.failing_subscribers
      union all
      select 'tunebase_file_validations', jsonb_build_object('value', count(*)) from tunebase_internal.file_validations
      union all
      select 'tunebase_evaluations_running', jsonb_build_object('value', count(distinct evaluation_id))
      from tunebase_internal.evaluation_queue
      union all
      select 'tunebase_evaluation_answers_pending', jsonb_build_object('value', count(*))
      from tunebase_internal.evaluation_queue
      union all
      select 'tunebase_alerts', jsonb_build_object('kind', kind, 'value', count(*))
      from tunebase_internal.alerts group by kind
      union all
      select 'tunebase_trigger_failures', jsonb_build_object('value', count(*))
      from tunebase_internal.trigger_failures where type is not null and repaired_at is null
      union all
      select 'tunebase_orphaned_objects', jsonb_build_object('value', count(*)) from tunebase_internal.orphaned_objects
      union all
      select 'tunebase_scheduler_ticks_total', jsonb_build_object('value', ticks) from tunebase_internal.scheduler_ticks
      union all
      select 'tunebase_scheduler_tick_seconds_total', jsonb_build_object('value', seconds)
      from tunebase_internal.scheduler_ticks
      union all
      select 'tunebase_scheduler_last_tick_timestamp_seconds', jsonb_build_object('value', extract(epoch from last_tick_at))
      from tunebase_internal.scheduler_ticks
    )
    select jsonb_object_agg(metric, samples)
    from (select metric, jsonb_agg(sample order by sample) as samples from lines group by metric) x
  );
end $$;

-- schemas/functions/monitoring/get_status.sql
-- The status that members may see: the service's health, and the project's queued work and problems. Nothing about other
-- projects, and no text from RunPod or Storage that is meant for the operator.
create function tunebase_internal.get_status(p_caller jsonb) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id constant uuid := tunebase_internal.authorize(p_caller, 'project:read');
  -- Older failures are no longer retried; record_deliveries starts a new series with the next one.
  v_recent constant timestamptz := now() - interval '2 days';
  v_oldest tunebase.jobs;
begin
  select * into v_oldest from tunebase.jobs
  where project_id = v_project_id and status = 'queued'
  order by queued_at limit 1;
  return (
    with receivers (kind, id, name, enabled, reason, since) as (
      select 'webhook_endpoint', e.id, e.name, e.enabled, e.disabled_reason, coalesce(e.disabled_at, f.failing_since)
      from tunebase.webhook_endpoints e left join tunebase_internal.failing_subscribers f on f.target_id = e.id and f.last_failed_at > v_recent
      where e.project_id = v_project_id and (f.target_id is not null or e.disabled_reason is not null)
      union all
      select 'notification_channel', c.id, format('%s: %s', c.kind, c.target), c.enabled, c.disabled_reason,
        coalesce(c.disabled_at, f.failing_since)
      from tunebase.notification_channels c left join tunebase_internal.failing_subscribers f on f.target_id = c.id and f.last_failed_at > v_recent
      where c.project_id = v_project_id and (f.target_id is not null or c.disabled_reason is not null)
    ), problems (kind, job_id, file_id, occurrences, last_at) as (
      select a.kind, t.job_id, null::uuid, a.occurrences, a.last_at
      from tunebase_internal.alerts a
      join tunebase.attempts t on t.id = case when a.kind = 'cancel_ignored_by_runpod' then a.subject::uuid end
      where t.project_id = v_project_id
      union all
      select a.kind, null, f.id, a.occurrences, a.last_at
      from tunebase_internal.alerts a
      join tunebase.files f on f.id = case when a.kind = 'file_check' then a.subject::uuid end
      where f.project_id = v_project_id and f.deleted_at is null
    )
    select jsonb_build_object(
      'last_tick_at', (select last_tick_at from tunebase_internal.scheduler_ticks),
      'queued', (select count(*) from tunebase.jobs where project_id = v_project_id and status = 'queued'),
      'running', (select count(*) from tunebase.attempts where project_id = v_project_id and state <> 'ended'),
      'max_running', p.max_running,
      'oldest_job_id', v_oldest.id,
      'oldest_queued_at', v_oldest.queued_at,
      'oldest_reason', case when v_oldest.id is not null then tunebase_internal.wait_reason(v_oldest) end,
      'files_validating', (
        select count(*) from tunebase_internal.file_validations v join tunebase.files f on f.id = v.file_id
        where f.project_id = v_project_id
      ),
      'receivers', (select coalesce(jsonb_agg(to_jsonb(r) order by r.since), '[]') from receivers r),
      'problems', (select coalesce(jsonb_agg(to_jsonb(x) order by x.last_at desc), '[]') from problems x)
    )
    from tunebase.projects p where p.id = v_project_id
  );
end $$;

-- schemas/functions/monitoring/record_tick.sql
-- Counts a finished tick of p_seconds.
create function tunebase_internal.record_tick(p_seconds double precision) returns void
language sql security definer set search_path = ''
as $$
  insert into tunebase_internal.scheduler_ticks as t (ticks, seconds, last_tick_at) values (1, p_seconds, now())
  on conflict (one_row) do update
  set ticks = t.ticks + 1, seconds = t.seconds + excluded.seconds, last_tick_at = greatest(t.last_tick_at, excluded.last_tick_at)
$$;

-- schemas/functions/notifications/broadcast_job_change.sql
-- Sends Realtime hints to browsers, if the platform has Realtime, on a private topic per job. Clients fetch events by number,
-- so a lost hint does no harm.
create function tunebase_internal.broadcast_job_change() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  -- Plain Postgres has no Realtime, and must not pay for the block below: it costs a subtransaction.
  if to_regnamespace('realtime') is null then
    return null;
  end if;
  begin
    if to_regprocedure('realtime.send(jsonb, text, text, boolean)') is null then
      return null;
    end if;
    execute 'select realtime.send($1, $2, $3, true)' using
      jsonb_build_object(
        'id', 'ftjob-' || replace(new.id::text, '-', ''), 'status', new.status, 'progress', new.progress,
        'last_event', new.last_event
      ),
      'job', 'tunebase:job:ftjob-' || replace(new.id::text, '-', '');
  exception when others then
    -- Not logged as a row: while Realtime is down, that would be one per report.
    raise warning 'tunebase: no Realtime hint for job %: %', new.id, sqlerrm;
  end;
  return null;
end $$;

-- schemas/functions/notifications/count_email.sql
-- Counts one email to an address. Returns false, and the email must not be sent, above the hourly limit: 60, at most 5 of
-- them tests.
create function tunebase_internal.count_email(p_address text, p_is_test boolean) returns boolean
language plpgsql set search_path = ''
as $$
begin
  insert into tunebase_internal.email_counts as c (address, hour, mails, tests)
  values (lower(p_address), date_trunc('hour', now()), 1, p_is_test::integer)
  on conflict (address, hour) do update
  set mails = c.mails + 1, tests = c.tests + excluded.tests
  where c.mails < 60 and c.tests + excluded.tests <= 5;
  return found;
end $$;

-- schemas/functions/notifications/count_unread.sql
create function tunebase_internal.count_unread(p_project_id uuid, p_user_id uuid) returns bigint
language sql stable set search_path = ''
as $$
  select count(*) from tunebase.notifications n
  where n.project_id = p_project_id and not exists (
    select from tunebase.notification_reads r where r.notification_id = n.id and r.user_id = p_user_id
  )
$$;

-- schemas/functions/notifications/create_notification_channel.sql
-- p_channel: {id, kind, target, event_types, encrypted_url}; the API chooses the id, because encrypted_url is bound to it. A
-- repeated request returns the channel that it created before. Raises email_not_member unless an email address is a
-- member's confirmed one.
create function tunebase_internal.create_notification_channel(p_caller jsonb, p_channel jsonb) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'webhooks:write');
  v_id uuid := (p_channel ->> 'id')::uuid;
  v_existing_id uuid := tunebase_internal.find_created_resource(p_caller);
begin
  if exists (select from tunebase.notification_channels where id = v_existing_id and project_id = v_project_id) then
    return tunebase_internal.notification_channel_json(v_project_id, v_existing_id);
  end if;
  -- One at a time per project, to enforce the limit.
  perform pg_advisory_xact_lock(hashtextextended('tunebase channels ' || v_project_id, 0));
  if p_channel ->> 'kind' = 'email' and not tunebase_internal.is_member_email(v_project_id, p_channel ->> 'target') then
    perform tunebase_internal.raise_api_error('email_not_member', jsonb_build_object(
      'param', 'target', 'address', p_channel ->> 'target'
    ));
  end if;
  if (select count(*) from tunebase.notification_channels where project_id = v_project_id) >= 20 then
    perform tunebase_internal.raise_api_error('quota_exceeded', jsonb_build_object(
      'what', 'notification channels per project', 'limit', 20, 'used', 20, 'fix', 'Delete one and try again.'
    ));
  end if;
  insert into tunebase.notification_channels (id, project_id, kind, target, event_types)
  values (
    v_id, v_project_id, p_channel ->> 'kind', p_channel ->> 'target',
    array(select jsonb_array_elements_text(p_channel -> 'event_types'))
  );
  if p_channel ->> 'encrypted_url' is not null then
    insert into tunebase_internal.channel_secrets (channel_id, encrypted_url) values (v_id, p_channel ->> 'encrypted_url');
  end if;
  perform tunebase_internal.record_created_resource(p_caller, v_id);
  return tunebase_internal.notification_channel_json(v_project_id, v_id);
end $$;

-- schemas/functions/notifications/delete_notification_channel.sql
create function tunebase_internal.delete_notification_channel(p_caller jsonb, p_id uuid) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  perform tunebase_internal.lock_notification_channel(p_caller, p_id);
  delete from tunebase.notification_channels where id = p_id;
  delete from tunebase_internal.failing_subscribers where target_id = p_id;
end $$;

-- schemas/functions/notifications/enqueue_checkpoint_event.sql
create function tunebase_internal.enqueue_checkpoint_event() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
  v_job tunebase.jobs;
begin
  select * into strict v_job from tunebase.jobs where id = new.job_id;
  perform tunebase_internal.enqueue_event(v_job, 'fine_tuning.job.checkpoint', jsonb_build_object('checkpoint', jsonb_build_object(
    'id', 'ftckpt-' || replace(new.id::text, '-', ''), 'step_number', new.step, 'metrics', new.metrics
  )));
  return null;
exception when others then
  perform tunebase_internal.log_trigger_failure(tg_name, new.job_id, null, sqlerrm);
  return null;
end $$;

-- schemas/functions/notifications/enqueue_event.sql
-- Writes one event of a job to the outbox. A failure is logged, and fan_out_events writes the event later.
create function tunebase_internal.enqueue_event(p_job tunebase.jobs, p_type text, p_more jsonb default '{}') returns void
language plpgsql security definer set search_path = ''
as $$
begin
  insert into tunebase_internal.outbox (project_id, job_id, type, data)
  values (p_job.project_id, p_job.id, p_type, tunebase_internal.job_event_data(p_job) || p_more);
exception when others then
  perform tunebase_internal.log_trigger_failure('enqueue_event', p_job.id, p_type, sqlerrm);
end $$;

-- schemas/functions/notifications/enqueue_job_events.sql
-- Writes the outbox rows of a new or changed job. It must never fail the change: failures are logged, and fan_out_events
-- writes the events later.
create function tunebase_internal.enqueue_job_events() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  if tg_op = 'INSERT' then
    perform tunebase_internal.enqueue_event(new, 'fine_tuning.job.created');
    if new.status = 'paused' then
      perform tunebase_internal.enqueue_event(new, 'fine_tuning.job.paused');
    end if;
    return null;
  end if;

  if new.status = 'running' and old.started_at is null then
    perform tunebase_internal.enqueue_event(new, 'fine_tuning.job.started');
  elsif new.status <> old.status and new.status in ('paused', 'succeeded', 'failed', 'cancelled') then
    perform tunebase_internal.enqueue_event(new, 'fine_tuning.job.' || new.status);
  end if;
  if old.budget_warned_at is null and new.budget_warned_at is not null then
    perform tunebase_internal.enqueue_event(new, 'fine_tuning.job.budget_warning');
  end if;
  if new.status = 'running' and new.progress > old.progress then
    perform tunebase_internal.enqueue_progress_event(new);
  end if;
  return null;
end $$;

-- schemas/functions/notifications/enqueue_progress_event.sql
-- Writes a progress event where an endpoint wants one, at most as often as the most frequent endpoint of the project does;
-- fan_out_event applies each endpoint's own interval. An update of a job holds its row lock, so there is no race.
create function tunebase_internal.enqueue_progress_event(p_job tunebase.jobs) returns void
language plpgsql set search_path = ''
as $$
declare
  v_seconds integer;
begin
  -- Outside the block below, which costs a subtransaction: most projects have no such endpoint.
  select min(progress_seconds) into v_seconds
  from tunebase.webhook_endpoints
  where project_id = p_job.project_id and enabled and 'fine_tuning.job.progress' = any (event_types);
  if v_seconds is null then
    return;
  end if;
  begin
    if not exists (
      select from tunebase_internal.outbox
      where job_id = p_job.id and type = 'fine_tuning.job.progress'
        and created_at > now() - make_interval(secs => v_seconds)
    ) then
      insert into tunebase_internal.outbox (project_id, job_id, type, data)
      values (p_job.project_id, p_job.id, 'fine_tuning.job.progress', tunebase_internal.job_event_data(p_job));
    end if;
  exception when others then
    -- Without a type: a lost progress event is not worth writing later.
    perform tunebase_internal.log_trigger_failure('enqueue_progress_event', p_job.id, null, sqlerrm);
  end;
end $$;

-- schemas/functions/notifications/fan_out_event.sql
-- Delivers one outbox event to every endpoint, channel and member that subscribed. Idempotent.
create function tunebase_internal.fan_out_event(p_event tunebase_internal.outbox) returns void
language plpgsql set search_path = ''
as $$
declare
  v_notification jsonb := tunebase_internal.render_notification(p_event.type, p_event.data);
  v_id text := 'evt_' || replace(p_event.id::text, '-', '');
begin
  insert into tunebase.webhook_deliveries (
    project_id, event_id, event_type, event_created_at, job_id, channel, endpoint_id, body
  )
  select p_event.project_id, p_event.id, p_event.type, p_event.created_at, p_event.job_id, 'webhook', e.id,
    json_build_object(
      'id', v_id, 'object', 'event', 'type', p_event.type,
      'created_at', floor(extract(epoch from p_event.created_at))::bigint, 'data', p_event.data
    )::text
  from tunebase.webhook_endpoints e
  where e.project_id = p_event.project_id and e.enabled and p_event.type = any (e.event_types)
    -- Endpoints get no events from before their creation.
    and e.created_at <= p_event.created_at
    and (p_event.type <> 'fine_tuning.job.progress' or not exists (
      select from tunebase.webhook_deliveries d
      where d.job_id = p_event.job_id and d.endpoint_id = e.id and d.event_type = p_event.type
        and d.event_created_at > p_event.created_at - make_interval(secs => e.progress_seconds)
    ))
  on conflict (event_id, endpoint_id) do nothing;

  if v_notification is not null then
    insert into tunebase.notifications (project_id, event_id, type, level, title, text, job_id, created_at)
    values (
      p_event.project_id, p_event.id, p_event.type, v_notification ->> 'level', v_notification ->> 'title', v_notification ->> 'text',
      p_event.job_id, p_event.created_at
    )
    on conflict (event_id) do nothing;
    -- Emails above their address's hourly limit are not sent, but are in the notifications and the delivery log.
    insert into tunebase.webhook_deliveries (
      project_id, event_id, event_type, event_created_at, job_id, channel, channel_id, body, status, next_at, reason
    )
    select p_event.project_id, p_event.id, p_event.type, p_event.created_at, p_event.job_id, c.kind, c.id,
      (v_notification || jsonb_build_object('id', v_id, 'type', p_event.type, 'job_id', p_event.job_id))::text,
      case when c.counted then 'pending' else 'dead' end, case when c.counted then now() end,
      case when not c.counted then 'This address has reached its limit of 60 emails per hour.' end
    from (
      select id, kind, kind <> 'email' or tunebase_internal.count_email(target, false) as counted
      from tunebase.notification_channels
      where project_id = p_event.project_id and enabled and p_event.type = any (event_types)
        and created_at <= p_event.created_at
        and (kind <> 'email' or tunebase_internal.is_member_email(project_id, target))
        -- Counted once, even if the event is fanned out again.
        and not exists (
          select from tunebase.webhook_deliveries d where d.event_id = p_event.id and d.channel_id = notification_channels.id
        )
      order by id
      offset 0
    ) c
    on conflict (event_id, channel_id) do nothing;
  end if;
end $$;

-- schemas/functions/notifications/fan_out_events.sql
-- Fans out up to p_limit events, oldest first. Returns how many. A failing event is postponed and blocks no other.
create function tunebase_internal.fan_out_events(p_limit integer) returns integer
language plpgsql security definer set search_path = ''
as $$
declare
  v_failure tunebase_internal.trigger_failures;
  v_event tunebase_internal.outbox;
  v_count integer := 0;
begin
  for v_failure in
    select * from tunebase_internal.trigger_failures where type is not null and repaired_at is null
    order by id limit p_limit for update skip locked
  loop
    begin
      insert into tunebase_internal.outbox (project_id, job_id, type, data)
      select j.project_id, j.id, v_failure.type, tunebase_internal.job_event_data(j)
      from tunebase.jobs j where j.id = v_failure.job_id;
      update tunebase_internal.trigger_failures set repaired_at = now() where id = v_failure.id;
    exception when others then
      raise warning 'tunebase: event % of job % could not be written: %', v_failure.type, v_failure.job_id, sqlerrm;
    end;
  end loop;

  for v_event in
    select * from tunebase_internal.outbox where fanned_out_at is null and due_at <= now()
    order by due_at, id limit p_limit for update skip locked
  loop
    begin
      perform tunebase_internal.fan_out_event(v_event);
      update tunebase_internal.outbox set fanned_out_at = now() where id = v_event.id;
      v_count := v_count + 1;
    exception when others then
      raise warning 'tunebase: event % cannot be fanned out: %', v_event.id, sqlerrm;
      update tunebase_internal.outbox set due_at = now() + interval '1 minute' where id = v_event.id;
    end;
  end loop;
  return v_count;
end $$;

-- schemas/functions/notifications/is_member_email.sql
-- Whether an address is the confirmed email address of a project member. Email goes to no other address, so that the
-- operator's domain cannot be used to send email to strangers.
create function tunebase_internal.is_member_email(p_project_id uuid, p_address text) returns boolean
language sql stable set search_path = ''
as $$
  select exists (
    select from tunebase.project_members m join auth.users u on u.id = m.user_id
    where m.project_id = p_project_id and lower(u.email) = lower(p_address) and u.email_confirmed_at is not null
  )
$$;

-- schemas/functions/notifications/job_event_data.sql
-- The `data` of a job's event: OpenAI's `{id}`, and what saves receivers another request. plpgsql, because it caches its
-- plan; a language sql function is planned at every call.
create function tunebase_internal.job_event_data(j tunebase.jobs) returns jsonb
language plpgsql stable set search_path = ''
as $$
begin
  return jsonb_build_object(
    'id', 'ftjob-' || replace(j.id::text, '-', ''),
    'status', j.status,
    'model', j.base_model,
    'fine_tuned_model', j.fine_tuned_model,
    'progress', j.progress,
    'step', j.current_step,
    'total_steps', j.total_steps,
    'trained_tokens', j.trained_tokens,
    'cost_usd', j.cost_usd,
    'spend_cap_usd', j.spend_cap_usd,
    'metadata', j.metadata,
    'error', case when j.error_code is not null then jsonb_build_object(
      'code', j.error_code, 'message', j.error_message, 'hint', j.error_hint, 'param', j.error_param
    ) end
  );
end $$;

-- schemas/functions/notifications/list_notification_channels.sql
create function tunebase_internal.list_notification_channels(p_caller jsonb, p_after uuid, p_limit integer) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'webhooks:read');
  v_rows jsonb;
begin
  if p_after is not null
    and not exists (select from tunebase.notification_channels where id = p_after and project_id = v_project_id) then
    perform tunebase_internal.raise_api_error('cursor_not_found');
  end if;
  select jsonb_agg(to_jsonb(c) order by c.id desc) into v_rows from (
    select * from tunebase.notification_channels
    where project_id = v_project_id and (p_after is null or id < p_after)
    order by id desc limit p_limit + 1
  ) c;
  return tunebase_internal.paginate(v_rows, p_limit);
end $$;

-- schemas/functions/notifications/list_notifications.sql
-- Newest first, each with the caller's read_at, and the caller's number of unread ones.
create function tunebase_internal.list_notifications(p_caller jsonb, p_after uuid, p_limit integer, p_unread boolean)
returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'jobs:read');
  v_user_id uuid := tunebase_internal.get_user_id(p_caller);
  v_rows jsonb;
begin
  if p_after is not null
    and not exists (select from tunebase.notifications where id = p_after and project_id = v_project_id) then
    perform tunebase_internal.raise_api_error('cursor_not_found');
  end if;
  select jsonb_agg(to_jsonb(n) order by n.id desc) into v_rows from (
    select x.*, r.read_at
    from tunebase.notifications x
    left join tunebase.notification_reads r on r.notification_id = x.id and r.user_id = v_user_id
    where x.project_id = v_project_id and (p_after is null or x.id < p_after)
      and (not p_unread or r.read_at is null)
    order by x.id desc limit p_limit + 1
  ) n;
  return tunebase_internal.paginate(v_rows, p_limit)
    || jsonb_build_object('unread', tunebase_internal.count_unread(v_project_id, v_user_id));
end $$;

-- schemas/functions/notifications/lock_notification_channel.sql
-- Locks a channel that the caller wants to change, its deliveries first (lock_subscriber). Raises
-- notification_channel_not_found or precondition_failed.
create function tunebase_internal.lock_notification_channel(p_caller jsonb, p_id uuid)
returns tunebase.notification_channels
language plpgsql set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'webhooks:write');
  v_channel tunebase.notification_channels;
begin
  perform tunebase_internal.lock_subscriber(p_id);
  select * into v_channel from tunebase.notification_channels where id = p_id and project_id = v_project_id for no key update;
  if not found then
    perform tunebase_internal.raise_api_error('notification_channel_not_found');
  end if;
  perform tunebase_internal.require_version(p_caller, v_channel.version);
  return v_channel;
end $$;

-- schemas/functions/notifications/log_trigger_failure.sql
-- Logs what a trigger could not do, as a row and as a warning. Cannot fail itself.
create function tunebase_internal.log_trigger_failure(p_trigger text, p_job_id uuid, p_type text, p_error text) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  raise warning 'tunebase: trigger % failed: %', p_trigger, p_error;
  insert into tunebase_internal.trigger_failures (trigger, job_id, type, error) values (p_trigger, p_job_id, p_type, p_error);
exception when others then
  raise warning 'tunebase: the failure could not be logged: %', sqlerrm;
end $$;

-- schemas/functions/notifications/mark_notifications_read.sql
-- Marks one notification (or all, if p_id is null) as read, for the caller only. Returns the number of unread ones.
-- Idempotent. Read access is enough, because only the caller is affected.
create function tunebase_internal.mark_notifications_read(p_caller jsonb, p_id uuid) returns bigint
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'jobs:read');
  v_user_id uuid := tunebase_internal.get_user_id(p_caller);
begin
  if v_user_id is null then
    perform tunebase_internal.raise_api_error('user_required');
  end if;
  if p_id is not null and not exists (
    select from tunebase.notifications where id = p_id and project_id = v_project_id
  ) then
    perform tunebase_internal.raise_api_error('notification_not_found');
  end if;
  insert into tunebase.notification_reads (notification_id, user_id)
  select id, v_user_id from tunebase.notifications
  where project_id = v_project_id and (p_id is null or id = p_id)
  on conflict do nothing;
  return tunebase_internal.count_unread(v_project_id, v_user_id);
end $$;

-- schemas/functions/notifications/notification_channel_json.sql
create function tunebase_internal.notification_channel_json(p_project_id uuid, p_id uuid) returns jsonb
language plpgsql stable set search_path = ''
as $$
declare
  v_channel tunebase.notification_channels;
begin
  select * into v_channel from tunebase.notification_channels where id = p_id and project_id = p_project_id;
  if not found then
    perform tunebase_internal.raise_api_error('notification_channel_not_found');
  end if;
  return to_jsonb(v_channel);
end $$;

-- schemas/functions/notifications/prune_notifications.sql
-- Deletes in batches: deliveries after 30 days, outbox events two days after fan-out (progress intervals are at most a day),
-- trigger failures after 90 days. Returns the number of rows.
create function tunebase_internal.prune_notifications(p_limit integer) returns integer
language plpgsql security definer set search_path = ''
as $$
declare
  v_deleted integer;
  v_total integer := 0;
begin
  delete from tunebase.webhook_deliveries where id in (
    select id from tunebase.webhook_deliveries
    where status <> 'pending' and created_at < now() - interval '30 days'
    order by created_at limit p_limit for update skip locked
  );
  get diagnostics v_deleted = row_count;
  v_total := v_total + v_deleted;
  delete from tunebase_internal.outbox where id in (
    select id from tunebase_internal.outbox
    where fanned_out_at is not null and fanned_out_at < now() - interval '2 days'
    order by fanned_out_at limit p_limit for update skip locked
  );
  get diagnostics v_deleted = row_count;
  v_total := v_total + v_deleted;
  delete from tunebase_internal.trigger_failures where id in (
    select id from tunebase_internal.trigger_failures where created_at < now() - interval '90 days'
    order by id limit p_limit for update skip locked
  );
  delete from tunebase_internal.email_counts where hour < now() - interval '1 day';
  return v_total;
end $$;

-- schemas/functions/notifications/render_notification.sql
-- Renders an event as a notification, {level, title, text}; null if its type has none.
create function tunebase_internal.render_notification(p_type text, p_data jsonb) returns jsonb
language sql stable set search_path = ''
as $$
  select case p_type
    when 'fine_tuning.job.succeeded' then jsonb_build_object(
      'level', 'info', 'title', format('Fine-tuning of %s succeeded', p_data ->> 'model'),
      'text', format('Job %s has finished. The new model is %s.', p_data ->> 'id', p_data ->> 'fine_tuned_model')
    )
    when 'fine_tuning.job.failed' then jsonb_build_object(
      'level', 'error', 'title', format('Fine-tuning of %s failed', p_data ->> 'model'),
      'text', concat_ws(E'\n',
        format('Job %s failed (%s): %s', p_data ->> 'id', p_data #>> '{error,code}', p_data #>> '{error,message}'),
        p_data #>> '{error,hint}'
      )
    )
    when 'fine_tuning.job.cancelled' then jsonb_build_object(
      'level', 'warn', 'title', format('Fine-tuning of %s was cancelled', p_data ->> 'model'),
      'text', format('Job %s was cancelled at %s%%.', p_data ->> 'id', round((p_data ->> 'progress')::numeric))
    )
    when 'fine_tuning.job.paused' then jsonb_build_object(
      'level', 'warn', 'title', format('Fine-tuning of %s is paused', p_data ->> 'model'),
      'text', format('Job %s is paused at %s%%. Resume it at any time.',
        p_data ->> 'id', round((p_data ->> 'progress')::numeric))
    )
    when 'fine_tuning.job.budget_warning' then jsonb_build_object(
      'level', 'warn', 'title', format('Fine-tuning of %s has used 80%% of its budget', p_data ->> 'model'),
      'text', format('Job %s has cost %s USD of its spend cap of %s USD. It will be stopped at the cap.',
        p_data ->> 'id', round((p_data ->> 'cost_usd')::numeric, 2), round((p_data ->> 'spend_cap_usd')::numeric, 2))
    )
    when 'webhook_endpoint.disabled' then jsonb_build_object(
      'level', 'error', 'title', format('%s was disabled', p_data ->> 'name'),
      'text', format('%s no longer receives events: %s. Fix the receiver, enable it again, and replay the missed events.',
        p_data ->> 'id', p_data ->> 'reason')
    )
  end
$$;

-- schemas/functions/notifications/require_email.sql
-- Counts an email that a caller requests. Raises email_not_member or email_limit_reached.
create function tunebase_internal.require_email(p_project_id uuid, p_address text, p_is_test boolean) returns void
language plpgsql set search_path = ''
as $$
begin
  if not tunebase_internal.is_member_email(p_project_id, p_address) then
    perform tunebase_internal.raise_api_error('email_not_member', jsonb_build_object('address', p_address));
  elsif not tunebase_internal.count_email(p_address, p_is_test) then
    perform tunebase_internal.raise_api_error('email_limit_reached', jsonb_build_object(
      'seconds', ceil(extract(epoch from date_trunc('hour', now()) + interval '1 hour' - now()))
    ));
  end if;
end $$;

-- schemas/functions/notifications/test_notification_channel.sql
-- Returns a channel for a test message: {kind, target, encrypted_url}. Raises email_not_member or email_limit_reached.
create function tunebase_internal.test_notification_channel(p_caller jsonb, p_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'webhooks:write');
  v_channel jsonb := tunebase_internal.notification_channel_json(v_project_id, p_id);
begin
  if v_channel ->> 'kind' = 'email' then
    perform tunebase_internal.require_email(v_project_id, v_channel ->> 'target', true);
  end if;
  return v_channel || jsonb_build_object(
    'encrypted_url', (select encrypted_url from tunebase_internal.channel_secrets where channel_id = p_id)
  );
end $$;

-- schemas/functions/notifications/update_notification_channel.sql
-- p_changes: any of {event_types, enabled}. The target cannot be changed.
create function tunebase_internal.update_notification_channel(p_caller jsonb, p_id uuid, p_changes jsonb) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_channel tunebase.notification_channels := tunebase_internal.lock_notification_channel(p_caller, p_id);
  v_enabled boolean := (p_changes ->> 'enabled')::boolean;
begin
  if p_changes ? 'event_types' then
    update tunebase.notification_channels
    set event_types = array(select jsonb_array_elements_text(p_changes -> 'event_types')), updated_at = now(),
      version = version + 1
    where id = p_id;
  end if;
  if v_enabled then
    update tunebase.notification_channels
    set enabled = true, disabled_at = null, disabled_reason = null, updated_at = now(), version = version + 1
    where id = p_id and not enabled;
  elsif not v_enabled then
    perform tunebase_internal.disable_subscriber(p_id, 'a member switched it off', false);
  end if;
  return tunebase_internal.notification_channel_json(v_channel.project_id, p_id);
end $$;

-- schemas/functions/projects/archive_project.sql
-- Archives or restores a project. Raises project_busy if it has unfinished jobs.
create function tunebase_internal.archive_project(p_caller jsonb, p_id uuid, p_archived boolean) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_version integer;
  v_open integer;
begin
  perform tunebase_internal.authorize_project(p_caller, p_id, 'project:admin');
  -- Waits for concurrent creates, whose foreign key takes a share lock, and then counts their jobs.
  select version into v_version from tunebase.projects where id = p_id for update;
  perform tunebase_internal.require_version(p_caller, v_version);
  if p_archived then
    select count(*) into v_open from tunebase.jobs
    where project_id = p_id and tunebase_internal.is_open(status);
    if v_open > 0 then
      perform tunebase_internal.raise_api_error('project_busy', jsonb_build_object('jobs', v_open));
    end if;
  end if;
  update tunebase.projects set archived_at = case when p_archived then now() end, version = version + 1
  where id = p_id and (archived_at is not null) <> p_archived;
  return tunebase_internal.get_project(p_caller, p_id);
end $$;

-- schemas/functions/projects/can_create_project.sql
-- Whether this user can create projects: if sign-up is open, or if they already own one.
create function tunebase_internal.can_create_project(p_user_id uuid) returns boolean
language sql stable set search_path = ''
as $$
  select s.signup = 'open'
    or exists (select from tunebase.project_members where user_id = p_user_id and role = 'owner')
  from tunebase_internal.settings s
$$;

-- schemas/functions/projects/create_project.sql
-- Creates a project with the caller as its owner. Raises signup_closed or quota_exceeded.
create function tunebase_internal.create_project(p_caller jsonb, p_name text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_user_id uuid := tunebase_internal.require_user_id(p_caller);
begin
  if not tunebase_internal.can_create_project(v_user_id) then
    perform tunebase_internal.raise_api_error('signup_closed');
  end if;
  perform tunebase_internal.require_project_room(v_user_id);
  return tunebase_internal.project_json(tunebase_internal.insert_project(v_user_id, p_name), 'owner');
end $$;

-- schemas/functions/projects/days_to_range.sql
-- The days p_from through p_to in p_time_zone, as a range of time. Raises invalid_time_zone.
create function tunebase_internal.days_to_range(p_from date, p_to date, p_time_zone text) returns tstzrange
language plpgsql stable set search_path = ''
as $$
begin
  return tstzrange(p_from::timestamp at time zone p_time_zone, (p_to + 1)::timestamp at time zone p_time_zone);
exception when invalid_parameter_value then
  perform tunebase_internal.raise_api_error('invalid_time_zone', jsonb_build_object(
    'time_zone', p_time_zone, 'param', 'time_zone'
  ));
end $$;

-- schemas/functions/projects/get_project.sql
create function tunebase_internal.get_project(p_caller jsonb, p_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_id uuid := tunebase_internal.authorize_project(p_caller, p_id, 'project:read');
  v_project tunebase.projects;
  v_role text;
begin
  select * into strict v_project from tunebase.projects where id = v_id;
  select role into v_role from tunebase.project_members
  where project_id = v_id and user_id = (p_caller ->> 'user_id')::uuid;
  return tunebase_internal.project_json(v_project, v_role) || jsonb_build_object('use', tunebase_internal.project_usage(v_id));
end $$;

-- schemas/functions/projects/get_usage_by_day.sql
-- One row per day from p_from through p_to in p_time_zone: jobs by the day they were created and the day they finished,
-- trained tokens by the day the job finished, GPU time and cost by the day the attempt started (like the monthly spend cap),
-- inference by the day the request started.
-- Raises invalid_time_zone.
create function tunebase_internal.get_usage_by_day(p_caller jsonb, p_from date, p_to date, p_time_zone text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'jobs:read');
  v_range constant tstzrange := tunebase_internal.days_to_range(p_from, p_to, p_time_zone);
  v_begin constant timestamptz := lower(v_range);
  v_end constant timestamptz := upper(v_range);
begin
  return (
    with created as (
      select (created_at at time zone p_time_zone)::date as day, count(*) as jobs
      from tunebase.jobs
      where project_id = v_project_id
        -- A job's id is generated some milliseconds after its created_at, the transaction's start.
        and id >= tunebase_internal.uuid7_lower_bound(v_begin) and id < tunebase_internal.uuid7_lower_bound(v_end + interval '1 minute')
        and created_at >= v_begin and created_at < v_end
      group by 1
    ), ended as (
      select (finished_at at time zone p_time_zone)::date as day,
        count(*) filter (where status = 'succeeded') as succeeded,
        count(*) filter (where status = 'failed') as failed,
        count(*) filter (where status = 'cancelled') as cancelled,
        sum(trained_tokens) as tokens
      from tunebase.jobs
      where project_id = v_project_id and finished_at >= v_begin and finished_at < v_end
      group by 1
    ), spent as (
      select (started_at at time zone p_time_zone)::date as day,
        sum(extract(epoch from coalesce(ended_at, now()) - started_at) * (gpu_config ->> 'num_gpus')::numeric) as seconds,
        sum(cost_usd) as cost
      from tunebase.attempts
      where project_id = v_project_id and started_at >= v_begin and started_at < v_end
      group by 1
    ), called as (
      select (quarter_hour at time zone p_time_zone)::date as day, sum(requests) as requests,
        sum(prompt_tokens) as prompt, sum(completion_tokens) as completion, sum(cost_usd) as cost
      from tunebase.inference_usage
      where project_id = v_project_id and quarter_hour >= v_begin and quarter_hour < v_end
      group by 1
    )
    select jsonb_agg(jsonb_build_object(
      'date', d.day, 'jobs_created', coalesce(c.jobs, 0), 'jobs_succeeded', coalesce(e.succeeded, 0),
      'jobs_failed', coalesce(e.failed, 0), 'jobs_cancelled', coalesce(e.cancelled, 0),
      'trained_tokens', coalesce(e.tokens, 0), 'gpu_seconds', round(coalesce(s.seconds, 0), 3),
      'cost_usd', coalesce(s.cost, 0), 'inference_requests', coalesce(i.requests, 0),
      'prompt_tokens', coalesce(i.prompt, 0), 'completion_tokens', coalesce(i.completion, 0),
      'inference_cost_usd', coalesce(i.cost, 0)
    ) order by d.day)
    from (select generate_series(p_from::timestamp, p_to::timestamp, '1 day')::date as day) d
    left join created c on c.day = d.day
    left join ended e on e.day = d.day
    left join spent s on s.day = d.day
    left join called i on i.day = d.day
  );
end $$;

-- schemas/functions/projects/insert_project.sql
-- Creates a project with this user as its owner and the operator's default cap.
create function tunebase_internal.insert_project(p_user_id uuid, p_name text) returns tunebase.projects
language plpgsql set search_path = ''
as $$
declare
  v_project tunebase.projects;
  v_id uuid := tunebase_internal.uuid7();
begin
  insert into tunebase.projects (id, name, slug, spend_cap_usd)
  values (
    v_id, p_name,
    -- The random end of the id: unique, and reveals nothing about the user.
    'p-' || right(replace(v_id::text, '-', ''), 10),
    (select default_spend_cap_usd from tunebase_internal.settings)
  )
  returning * into v_project;
  insert into tunebase.project_members (project_id, user_id, role) values (v_id, p_user_id, 'owner');
  return v_project;
end $$;

-- schemas/functions/projects/list_projects.sql
-- The caller's projects, newest first.
create function tunebase_internal.list_projects(p_caller jsonb, p_after uuid, p_limit integer, p_archived boolean) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_key_project uuid;
  v_rows jsonb;
begin
  if p_caller ? 'key_hash' then
    v_key_project := tunebase_internal.authorize(p_caller, 'project:read');
  end if;
  select jsonb_agg(tunebase_internal.project_json(x.project, x.role) order by (x.project).id desc) into v_rows from (
    select p as project, m.role from tunebase.projects p
    left join tunebase.project_members m on m.project_id = p.id and m.user_id = (p_caller ->> 'user_id')::uuid
    where p.id in (
        select v_key_project where v_key_project is not null
        union all
        select o.project_id from tunebase.project_members o where o.user_id = (p_caller ->> 'user_id')::uuid
      )
      and (p_archived or p.archived_at is null)
      and (p_after is null or p.id < p_after)
    order by p.id desc limit p_limit + 1
  ) x;
  return tunebase_internal.paginate(v_rows, p_limit);
end $$;

-- schemas/functions/projects/project_json.sql
create function tunebase_internal.project_json(p_project tunebase.projects, p_role text) returns jsonb
language sql stable set search_path = ''
as $$
  select to_jsonb(p_project) - 'budget_warned_month' || jsonb_build_object('role', p_role)
$$;

-- schemas/functions/projects/project_spend.sql
-- A project's spending this month (UTC), plus what its unfinished jobs and open inference requests may still cost. plpgsql, because it caches its plans.
create function tunebase_internal.project_spend(p_project_id uuid) returns numeric
language plpgsql stable set search_path = ''
as $$
declare
  v_month constant timestamptz := date_trunc('month', now() at time zone 'utc') at time zone 'utc';
begin
  return coalesce((
    select sum(cost_usd) from tunebase.attempts where project_id = p_project_id and started_at >= v_month
  ), 0) + coalesce((
    -- As in the index jobs_reserved: jobs that cost nothing are not counted, however many there are.
    select sum(greatest(reserved_usd - cost_usd, 0)) from tunebase.jobs
    where project_id = p_project_id and tunebase_internal.is_open(status) and reserved_usd > 0
  ), 0) + tunebase_internal.inference_spend(p_project_id) + coalesce((
    select sum(reserved_usd) from tunebase.inference_requests
    where project_id = p_project_id and status = 'open' and reserved_usd > 0
  ), 0);
end $$;

-- schemas/functions/projects/project_usage.sql
-- A project's usage of its limits: {running, jobs, storage_bytes, spent_usd}. The spending is this month's (UTC), including
-- reservations.
create function tunebase_internal.project_usage(p_project_id uuid) returns jsonb
language sql stable set search_path = ''
as $$
  select jsonb_build_object(
    'running', (select count(*) from tunebase.attempts where project_id = p_project_id and state <> 'ended'),
    'jobs', (
      select count(*) from tunebase.jobs
      where project_id = p_project_id and tunebase_internal.is_open(status)
    ),
    'storage_bytes', tunebase_internal.stored_bytes(p_project_id),
    'spent_usd', tunebase_internal.project_spend(p_project_id)
  )
$$;

-- schemas/functions/projects/require_project_room.sql
-- Raises quota_exceeded if this user owns the maximum number of projects. Every way to become an owner calls it, and archived
-- projects count, so that no combination of archive, create, restore and invite exceeds the limit.
create function tunebase_internal.require_project_room(p_user_id uuid) returns void
language plpgsql set search_path = ''
as $$
declare
  v_limit integer;
  v_owned integer;
begin
  -- One at a time per user, so that the count is exact.
  perform pg_advisory_xact_lock(hashtextextended('tunebase projects ' || p_user_id, 0));
  select max_projects_per_owner into strict v_limit from tunebase_internal.settings;
  select count(*) into v_owned from tunebase.project_members where user_id = p_user_id and role = 'owner';
  if v_owned >= v_limit then
    perform tunebase_internal.raise_api_error('quota_exceeded', jsonb_build_object(
      'what', 'projects per owner, archived ones included', 'limit', v_limit, 'used', v_owned,
      'fix', 'Restore an archived project and use it, or ask the operator to raise max_projects_per_owner.'
    ));
  end if;
end $$;

-- schemas/functions/projects/stored_bytes.sql
-- The bytes of a project's datasets and adapters. An object that equal files share counts once.
create function tunebase_internal.stored_bytes(p_project_id uuid) returns bigint
language sql stable set search_path = ''
as $$
  select coalesce((
    select sum(o.bytes) from (
      select distinct on (s.object) s.bytes
      from tunebase.files f cross join lateral (values (f.object, f.bytes), (f.original_object, f.original_bytes)) s (object, bytes)
      where f.project_id = p_project_id and f.deleted_at is null and s.object is not null
    ) o
  ), 0)::bigint + coalesce((
    select sum(bytes) from tunebase.adapters where project_id = p_project_id and deleted_at is null
  ), 0)::bigint
$$;

-- schemas/functions/projects/update_project.sql
-- p_changes: any of {name, max_running, spend_cap_usd, store_completions, completion_retention_days}; absent fields keep their value, and an explicit null removes the cap.
-- Raises spend_cap_too_high if the cap exceeds the operator's limit.
create function tunebase_internal.update_project(p_caller jsonb, p_id uuid, p_changes jsonb) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_version integer;
  v_cap numeric := (p_changes ->> 'spend_cap_usd')::numeric;
  v_old_cap numeric;
  v_max numeric;
begin
  perform tunebase_internal.authorize_project(p_caller, p_id, 'project:admin');
  select version, spend_cap_usd into v_version, v_old_cap from tunebase.projects where id = p_id for no key update;
  perform tunebase_internal.require_version(p_caller, v_version);
  if p_changes ? 'spend_cap_usd' then
    select max_spend_cap_usd into strict v_max from tunebase_internal.settings;
    -- The operator may have set a higher cap, which a client can send back unchanged.
    if (v_cap is null or v_cap > v_max) and v_max is not null and v_cap is distinct from v_old_cap then
      perform tunebase_internal.raise_api_error('spend_cap_too_high', jsonb_build_object(
        'param', 'limits.spent_usd', 'value', v_cap, 'max', v_max
      ));
    end if;
  end if;
  update tunebase.projects
  set version = version + 1,
    name = coalesce(p_changes ->> 'name', name),
    max_running = coalesce((p_changes ->> 'max_running')::integer, max_running),
    store_completions = coalesce((p_changes ->> 'store_completions')::boolean, store_completions),
    completion_retention_days = coalesce((p_changes ->> 'completion_retention_days')::integer, completion_retention_days),
    spend_cap_usd = case when p_changes ? 'spend_cap_usd' then v_cap else spend_cap_usd end,
    -- Warn again for a new cap.
    budget_warned_month = case when p_changes ? 'spend_cap_usd' then null else budget_warned_month end
  where id = p_id;
  return tunebase_internal.get_project(p_caller, p_id);
end $$;

-- schemas/functions/reconcile/claim_attempts_to_reconcile.sql
-- The attempts to check with RunPod now. Each is postponed, so that two schedulers do not check one at once.
create function tunebase_internal.claim_attempts_to_reconcile(p_limit integer) returns jsonb
language sql security definer set search_path = ''
as $$
  with due as (
    select id from tunebase.attempts
    where state <> 'ended' and reconcile_at <= now()
    order by reconcile_at limit p_limit
    for no key update skip locked
  ), claimed as (
    update tunebase.attempts a set reconcile_at = now() + interval '30 seconds'
    from due where a.id = due.id
    returning a.*
  )
  select coalesce(jsonb_agg(jsonb_build_object(
    'id', c.id, 'endpoint_id', c.endpoint_id, 'runpod_job_id', c.runpod_job_id,
    'prefix', tunebase_internal.artifact_prefix(c.id), 'fence', c.fence,
    'waiting_seconds', case when c.state <> 'running' then extract(epoch from now() - c.created_at) end,
    'cancel', c.cancel_requested and (c.cancel_sent_at is null or c.cancel_sent_at < now() - interval '30 seconds')
  )), '[]')
  from claimed c
$$;

-- schemas/functions/reconcile/give_up_attempt.sql
-- Ends an attempt that hangs, or that no worker claimed in time.
create function tunebase_internal.give_up_attempt(p_attempt tunebase.attempts, p_hangs boolean, p_reason text) returns void
language plpgsql set search_path = ''
as $$
begin
  if p_hangs then
    perform tunebase_internal.end_attempt(
      p_attempt.id, 'lost', 'infrastructure', 'worker_lost',
      'The GPU worker has sent no heartbeat for too long.', 'This is not a problem with your data. Create the job again.'
    );
  elsif p_attempt.runpod_job_id is null then
    -- The dispatcher may have died before the call. If a worker still claims it, that worker is rejected before it uses GPU
    -- time, so a new attempt is safe.
    perform tunebase_internal.end_attempt(
      p_attempt.id, 'expired', 'infrastructure', 'no_capacity',
      'The GPU service never confirmed that it accepted the run.', 'Create the job again later.'
    );
  else
    perform tunebase_internal.end_attempt(
      p_attempt.id, 'expired', 'operator', 'no_capacity',
      format(
        'No GPU worker started within %s seconds: %s.', p_attempt.ttl_seconds - p_attempt.execution_timeout_seconds,
        coalesce(
          p_reason, (select status_reason from tunebase.jobs where id = p_attempt.job_id), 'the GPU service gives no reason'
        )
      ),
      'Create the job again later.'
    );
  end if;
end $$;

-- schemas/functions/reconcile/reconcile_attempt.sql
-- Acts on an attempt's status at RunPod. p_found: {status, error, output, manifest, status_reason}; status is RunPod's own,
-- GONE (404), UNREACHABLE, or NONE (the run's id is unknown); manifest lists files recovered from Storage. p_fault is the
-- class of output.error_code. Returns {cancel: true} if the caller must cancel the run at RunPod and then call again with
-- cancel_tried in p_found.
create function tunebase_internal.reconcile_attempt(
  p_attempt_id uuid, p_found jsonb, p_fault text, p_max_missed_heartbeats integer
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_attempt tunebase.attempts := tunebase_internal.lock_attempt(p_attempt_id);
  v_status text := p_found ->> 'status';
  v_output jsonb := case when jsonb_typeof(p_found -> 'output') = 'object' then p_found -> 'output' else '{}' end;
  -- An earlier call cancelled it because it had expired or hung, and died before it ended the attempt.
  v_gave_up boolean := v_status = 'CANCELLED' and v_attempt.cancel_sent_at is not null;
  v_next_check timestamptz;
  v_expired boolean;
  v_hangs boolean;
begin
  if v_attempt.id is null or v_attempt.state = 'ended' then
    return '{}';
  end if;
  -- RunPod's response to /run did not arrive, or the dispatcher died.
  if v_attempt.state = 'submitting' and v_attempt.lease_until <= now() then
    update tunebase.attempts set state = 'submission_unknown', reconcile_at = claim_deadline where id = p_attempt_id
    returning * into v_attempt;
  end if;
  if v_attempt.cancel_requested and v_attempt.state <> 'submitting' then
    perform tunebase_internal.reconcile_cancelled_attempt(v_attempt, v_status);
    return '{}';
  end if;
  v_next_check := tunebase_internal.too_early_to_reconcile(v_attempt, v_status, v_output);
  if v_next_check is not null then
    update tunebase.attempts
    set reconcile_at = v_next_check,
      missed_heartbeats = case when state = 'running' and lease_until > now() then 0 else missed_heartbeats end
    where id = p_attempt_id;
    return '{}';
  end if;

  if v_status in ('COMPLETED', 'FAILED', 'CANCELLED', 'TIMED_OUT', 'GONE') and not v_gave_up then
    -- The finish callback was lost, but not the files. Nested, because `and` may evaluate both sides.
    if jsonb_typeof(p_found #> '{manifest,files}') = 'array' then
      if tunebase_internal.complete_attempt(p_attempt_id, p_found -> 'manifest') is null then
        perform tunebase_internal.warn_unconfirmed_push(v_attempt.job_id);
        return '{}';
      end if;
    end if;
    perform tunebase_internal.reconcile_terminated_run(v_attempt, p_found, v_output, p_fault);
    return '{}';
  end if;

  v_expired := v_attempt.state <> 'running' and v_attempt.claim_deadline < now();
  v_hangs := v_attempt.state = 'running'
    and (v_gave_up or (v_status = 'IN_PROGRESS' and v_attempt.missed_heartbeats >= p_max_missed_heartbeats));
  if not v_expired and not v_hangs then
    perform tunebase_internal.record_runpod_status(v_attempt, v_status, p_found ->> 'status_reason');
    return '{}';
  end if;
  -- Cancel at RunPod first: ended attempts are never checked again, and RunPod would bill the run until its ttl. Record the
  -- intent before the call, so that RunPod's CANCELLED is attributed to it.
  if v_attempt.runpod_job_id is not null and not v_gave_up and not p_found ? 'cancel_tried' then
    update tunebase.attempts set cancel_sent_at = now() where id = p_attempt_id;
    return jsonb_build_object('cancel', true);
  end if;
  perform tunebase_internal.give_up_attempt(v_attempt, v_hangs, p_found ->> 'status_reason');
  return '{}';
end $$;

-- schemas/functions/reconcile/reconcile_cancelled_attempt.sql
-- Reconciles an attempt that is being cancelled: ends it if the run has terminated, otherwise schedules another cancel.
create function tunebase_internal.reconcile_cancelled_attempt(p_attempt tunebase.attempts, p_status text) returns void
language plpgsql set search_path = ''
as $$
declare
  v_terminated boolean := p_status in ('COMPLETED', 'FAILED', 'CANCELLED', 'TIMED_OUT', 'GONE');
  -- Without an id, RunPod cannot be queried, but no worker can claim it after the deadline. With one, RunPod deletes it at its ttl.
  v_deadline timestamptz := case
    when p_attempt.runpod_job_id is null then p_attempt.claim_deadline
    else coalesce(p_attempt.submitted_at, p_attempt.created_at) + make_interval(secs => p_attempt.ttl_seconds)
  end;
begin
  -- A worker that still reports gets the directive in its next reply, and reports when it has stopped.
  if p_attempt.state = 'running' and p_attempt.lease_until > now() and not v_terminated then
    update tunebase.attempts set reconcile_at = now() + interval '3 seconds' where id = p_attempt.id;
  elsif v_terminated or v_deadline < now() then
    perform tunebase_internal.end_attempt(p_attempt.id, 'cancelled', p_message => case
      when not v_terminated then 'The GPU service never confirmed the cancellation.'
    end);
  else
    if p_attempt.cancel_requested_at < now() - interval '5 minutes' and p_status = 'IN_PROGRESS' then
      perform tunebase_internal.raise_alert(
        'cancel_ignored_by_runpod', p_attempt.id::text,
        format('Run %s on endpoint %s was cancelled but is still running, and may be billed.', p_attempt.runpod_job_id, p_attempt.endpoint_id)
      );
    end if;
    update tunebase.attempts set reconcile_at = now() + interval '5 seconds' where id = p_attempt.id;
  end if;
end $$;

-- schemas/functions/reconcile/reconcile_terminated_run.sql
-- Ends an attempt whose run has terminated at RunPod and whose files are not all in Storage.
create function tunebase_internal.reconcile_terminated_run(p_attempt tunebase.attempts, p_found jsonb, p_output jsonb, p_fault text)
returns void
language plpgsql set search_path = ''
as $$
declare
  v_status text := p_found ->> 'status';
  v_error text := tunebase_internal.runpod_text(p_found ->> 'error');
begin
  -- Before the job's own event. RunPod's text is often the only clue.
  if v_error is not null and not p_output ? 'error_code' then
    perform tunebase_internal.add_event(p_attempt.job_id, 'warn', format('The GPU service reports: %s', v_error));
  end if;
  if p_output ? 'error_code' then
    perform tunebase_internal.end_attempt(
      p_attempt.id, 'failed', coalesce(p_fault, 'infrastructure'), p_output ->> 'error_code',
      coalesce(p_output ->> 'error_message', 'The trainer failed.'), p_output ->> 'hint'
    );
  elsif p_output ->> 'status' = 'paused' then
    perform tunebase_internal.end_attempt(p_attempt.id, 'paused');
  elsif p_output ->> 'status' = 'preempted' then
    perform tunebase_internal.end_attempt(
      p_attempt.id, 'preempted', 'infrastructure', 'preempted', 'The GPU worker was preempted.', 'Create the job again.'
    );
  elsif v_status = 'CANCELLED' then
    perform tunebase_internal.end_attempt(
      p_attempt.id, 'cancelled', p_message => 'The run was cancelled directly at the GPU service.'
    );
  elsif v_status = 'TIMED_OUT' and p_attempt.started_at is null then
    -- It timed out in the queue, or the worker died before claiming it. The user was not billed.
    perform tunebase_internal.end_attempt(
      p_attempt.id, 'expired', 'infrastructure', 'no_capacity',
      'The GPU service ended the run before a worker started it.', 'Create the job again later.'
    );
  elsif v_status = 'TIMED_OUT' or p_found ->> 'error' ilike '%executionTimeout exceeded%' then
    -- claim_dispatch shortens the limit to what the caps allow.
    if p_attempt.execution_timeout_seconds < (
      select m.execution_timeout_seconds from tunebase.jobs j join tunebase.base_models m on m.id = j.base_model
      where j.id = p_attempt.job_id
    ) then
      perform tunebase_internal.end_attempt(
        p_attempt.id, 'failed', 'user', 'spend_cap',
        format('The run was stopped after %s seconds, the maximum that its spend caps allow.', p_attempt.execution_timeout_seconds),
        'The newest checkpoint is kept. Create the job again with a higher spend_cap_usd, or ask an owner to raise the project''s cap.'
      );
    else
      perform tunebase_internal.end_attempt(
        p_attempt.id, 'failed', 'user', 'time_limit',
        format('The run exceeded its limit of %s seconds.', p_attempt.execution_timeout_seconds),
        'Train for fewer epochs or on fewer rows.'
      );
    end if;
  else
    perform tunebase_internal.end_attempt(
      p_attempt.id, 'lost', 'infrastructure', 'worker_lost',
      'The GPU worker stopped without finishing: it was killed, ran out of memory, or its machine was lost.',
      'This is not a problem with your data. Create the job again.'
    );
  end if;
end $$;

-- schemas/functions/reconcile/record_cancel_sent.sql
create function tunebase_internal.record_cancel_sent(p_attempt_id uuid) returns void
language sql security definer set search_path = ''
as $$
  update tunebase.attempts set cancel_sent_at = now(), reconcile_at = now() + interval '3 seconds'
  where id = p_attempt_id and state <> 'ended'
$$;

-- schemas/functions/reconcile/record_recovered_file.sql
-- A file was read back from Storage with this size and hash, after its worker was lost.
create function tunebase_internal.record_recovered_file(p_attempt_id uuid, p_file jsonb) returns void
language sql security definer set search_path = ''
as $$
  insert into tunebase_internal.verified_files (attempt_id, path, bytes, sha256)
  values (p_attempt_id, p_file ->> 'path', (p_file ->> 'bytes')::bigint, p_file ->> 'sha256')
  on conflict (attempt_id, path) do update
  set bytes = excluded.bytes, sha256 = excluded.sha256, verified_at = now()
$$;

-- schemas/functions/reconcile/record_runpod_status.sql
-- Records the RunPod status of a waiting or running attempt, and when to check it again.
create function tunebase_internal.record_runpod_status(p_attempt tunebase.attempts, p_status text, p_reason text) returns void
language plpgsql set search_path = ''
as $$
declare
  v_missed boolean := p_attempt.state = 'running' and p_status = 'IN_PROGRESS';
begin
  if v_missed and p_attempt.missed_heartbeats = 4 then
    perform tunebase_internal.add_event(
      p_attempt.job_id, 'warn', 'No heartbeat from the GPU worker; RunPod reports that it is still running.'
    );
  end if;
  if p_status not in ('IN_QUEUE', 'IN_PROGRESS', 'NONE', 'UNREACHABLE') then
    perform tunebase_internal.raise_alert(
      'unknown_status', p_attempt.endpoint_id, format('RunPod returned the unknown status %s for run %s.', p_status, p_attempt.runpod_job_id)
    );
  end if;
  if p_reason is not null then
    update tunebase.jobs set status_reason = p_reason
    where id = p_attempt.job_id and status = 'queued' and status_reason is distinct from p_reason;
    if found then
      perform tunebase_internal.add_event(p_attempt.job_id, 'info', format('Waiting for a GPU: %s.', p_reason));
    end if;
  end if;
  update tunebase.attempts
  set missed_heartbeats = missed_heartbeats + v_missed::integer,
    reconcile_at = case
      when runpod_job_id is null and state = 'submission_unknown' then claim_deadline
      else now() + interval '15 seconds'
    end
  where id = p_attempt.id;
end $$;

-- schemas/functions/reconcile/runpod_text.sql
-- RunPod's error text for an event: one line of at most 500 characters, without secrets that a traceback can contain (signed
-- URLs, the attempt's secret).
create function tunebase_internal.runpod_text(p_error text) returns text
language sql immutable set search_path = ''
as $$
  select nullif(left(btrim(regexp_replace(
    regexp_replace(
      regexp_replace(p_error, '(https?://[^\s?"'']+)\?[^\s"'']*', '\1?…', 'g'),
      'whsec_[^\s"'',}]+', 'whsec_…', 'g'
    ),
    '[[:cntrl:]\s]+', ' ', 'g'
  )), 500), '')
$$;

-- schemas/functions/reconcile/schedule_reconcile.sql
-- Reconciles an attempt now, after RunPod's webhook. The webhook's URL has the attempt's token, so its run id can be trusted.
create function tunebase_internal.schedule_reconcile(p_attempt_id uuid, p_runpod_job_id text) returns void
language sql security definer set search_path = ''
as $$
  update tunebase.attempts
  set reconcile_at = now(), runpod_job_id = coalesce(runpod_job_id, p_runpod_job_id),
    submitted_at = coalesce(submitted_at, now()),
    state = case when state = 'submission_unknown' and p_runpod_job_id is not null then 'submitted' else state end
  where id = p_attempt_id and state <> 'ended'
$$;

-- schemas/functions/reconcile/too_early_to_reconcile.sql
-- When to check an attempt again, if it is too early to act on its RunPod status; otherwise null.
create function tunebase_internal.too_early_to_reconcile(p_attempt tunebase.attempts, p_status text, p_output jsonb)
returns timestamptz
language plpgsql stable set search_path = ''
as $$
begin
  return case
    -- With a fresh lease, a worker is training or its finish callback is on its way, or a dispatcher is submitting.
    when p_attempt.state in ('submitting', 'running') and p_attempt.lease_until > now() then p_attempt.lease_until
    -- RunPod may not find a run that it has just accepted.
    when p_status = 'GONE' and p_attempt.submitted_at > now() - interval '1 minute' then now() + interval '10 seconds'
    -- RunPod started a run twice: the second worker was rejected and has ended, the first may be running. It gets one more
    -- lease to send a heartbeat.
    when p_output ->> 'status' = 'refused' and p_attempt.state = 'running'
      and p_attempt.lease_until + (p_attempt.lease_until - coalesce(p_attempt.last_report_at, p_attempt.started_at)) > now()
    then now() + interval '5 seconds'
  end;
end $$;

-- schemas/functions/reconcile/warn_unconfirmed_push.sql
-- Warns that a succeeded job's worker ended before it reported its push to the Hugging Face Hub, if it was to push.
create function tunebase_internal.warn_unconfirmed_push(p_job_id uuid) returns void
language sql set search_path = ''
as $$
  select tunebase_internal.add_event(id, 'warn', format(
    'The worker ended before it reported the push to the Hugging Face Hub. Check %1$s, or push the adapter yourself: '
    'tunebase adapter push ftjob-%2$s %1$s%3$s',
    huggingface ->> 'repo', replace(id::text, '-', ''),
    case when (huggingface ->> 'private')::boolean then '' else ' --public' end))
  from tunebase.jobs
  where id = p_job_id and status = 'succeeded' and huggingface is not null;
$$;

-- schemas/functions/requests/complete_idempotency_key.sql
-- Stores a request's response. Without one, releases the key.
create function tunebase_internal.complete_idempotency_key(p_id uuid, p_request_hash text, p_answer text) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  if p_answer is null then
    delete from tunebase_internal.idempotency_keys where id = p_id;
  else
    update tunebase_internal.idempotency_keys set request_hash = p_request_hash, answer = p_answer where id = p_id;
  end if;
end $$;

-- schemas/functions/requests/find_created_resource.sql
-- The resource that an equal earlier request created, or null. The caller's `request` is {key_hash, hash, is_retry}. Equal
-- means the same key or, without a key, the same hash within ten minutes if this request is a retry (the SDKs count their
-- retries). Raises idempotency_key_reused.
--
-- The lock is held until the transaction ends, so that a retry waits for the first request and finds what it recorded. First
-- requests without a key share the lock, because each of them creates a separate resource.
create function tunebase_internal.find_created_resource(p_caller jsonb) returns uuid
language plpgsql set search_path = ''
as $$
declare
  v_subject text := tunebase_internal.idempotency_subject(p_caller);
  v_key_hash text := p_caller #>> '{request,key_hash}';
  v_hash text := p_caller #>> '{request,hash}';
  v_lock bigint := hashtextextended(v_subject || ' ' || coalesce(v_key_hash, v_hash), 0);
  v_found tunebase_internal.idempotency_keys;
begin
  if v_hash is null then
    return null;
  elsif v_key_hash is not null then
    perform pg_advisory_xact_lock(v_lock);
    delete from tunebase_internal.idempotency_keys
    where subject = v_subject and key_hash = v_key_hash and created_at <= now() - interval '1 day';
    select * into v_found from tunebase_internal.idempotency_keys where subject = v_subject and key_hash = v_key_hash;
    if found and v_found.request_hash is distinct from v_hash then
      perform tunebase_internal.raise_api_error('idempotency_key_reused');
    end if;
  elsif (p_caller #> '{request,is_retry}')::boolean then
    perform pg_advisory_xact_lock(v_lock);
    select * into v_found from tunebase_internal.idempotency_keys
    where subject = v_subject and request_hash = v_hash and key_hash is null and created_at > now() - interval '10 minutes'
    order by created_at desc limit 1;
  else
    perform pg_advisory_xact_lock_shared(v_lock);
    -- A first request that its own retry has overtaken, because a proxy delayed it: the resource exists. Only once: the
    -- next equal request creates another one.
    update tunebase_internal.idempotency_keys set created_by_retry = false
    where created_by_retry and subject = v_subject and request_hash = v_hash and created_at > now() - interval '10 minutes'
    returning * into v_found;
  end if;
  return v_found.resource_id;
end $$;

-- schemas/functions/requests/idempotency_subject.sql
create function tunebase_internal.idempotency_subject(p_caller jsonb) returns text
language sql immutable
return coalesce(p_caller ->> 'key_hash', p_caller ->> 'user_id');

-- schemas/functions/requests/prune_idempotency_keys.sql
-- Deletes requests older than a day, at most p_limit of them. Returns how many.
create function tunebase_internal.prune_idempotency_keys(p_limit integer) returns integer
language plpgsql security definer set search_path = ''
as $$
declare
  v_pruned integer;
begin
  delete from tunebase_internal.idempotency_keys where id in (
    select id from tunebase_internal.idempotency_keys where created_at < now() - interval '1 day'
    order by created_at limit p_limit for update skip locked
  );
  get diagnostics v_pruned = row_count;
  return v_pruned;
end $$;

-- schemas/functions/requests/record_created_resource.sql
-- Records which resource a request created, in the same transaction, for find_created_resource.
create function tunebase_internal.record_created_resource(p_caller jsonb, p_id uuid) returns void
language plpgsql set search_path = ''
as $$
declare
  v_request jsonb := p_caller -> 'request';
begin
  if v_request is null then
    return;
  end if;
  insert into tunebase_internal.idempotency_keys (subject, key_hash, request_hash, resource_id, created_by_retry)
  values (
    tunebase_internal.idempotency_subject(p_caller), v_request ->> 'key_hash', v_request ->> 'hash', p_id,
    v_request ->> 'key_hash' is null and (v_request -> 'is_retry')::boolean
  )
  on conflict do nothing;
  if not found then
    -- Another kind of request has reserved the same key.
    perform tunebase_internal.raise_api_error('idempotency_key_reused');
  end if;
end $$;

-- schemas/functions/requests/reserve_idempotency_key.sql
-- Reserves a key. Returns {state: 'new', id}, {state: 'done', request_hash, answer} or {state: 'running'}. Raises
-- idempotency_key_reused for another request. An expired reservation and an answer older than a day are replaced.
create function tunebase_internal.reserve_idempotency_key(
  p_caller jsonb, p_key_hash text, p_request_hash text, p_lease_seconds integer, p_scope text
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_subject text := tunebase_internal.idempotency_subject(p_caller);
  v_request tunebase_internal.idempotency_keys;
  v_until timestamptz := now() + make_interval(secs => p_lease_seconds);
begin
  if p_scope is null then
    perform tunebase_internal.identify(p_caller);
  else
    perform tunebase_internal.authorize(p_caller - 'if_match', p_scope);
  end if;
  insert into tunebase_internal.idempotency_keys (subject, key_hash, request_hash, locked_until)
  values (v_subject, p_key_hash, p_request_hash, v_until)
  on conflict (subject, key_hash) where key_hash is not null do nothing
  returning * into v_request;
  if found then
    return jsonb_build_object('state', 'new', 'id', v_request.id);
  end if;

  select * into v_request from tunebase_internal.idempotency_keys
  where subject = v_subject and key_hash = p_key_hash
  for update;
  if not found then
    -- The first request has just failed and released the key: the client retries.
    return jsonb_build_object('state', 'running');
  end if;
  if v_request.created_at > now() - interval '1 day' then
    if v_request.request_hash <> p_request_hash or v_request.resource_id is not null then
      perform tunebase_internal.raise_api_error('idempotency_key_reused');
    elsif v_request.answer is not null then
      return jsonb_build_object(
        'state', 'done', 'request_hash', v_request.request_hash, 'answer', v_request.answer
      );
    elsif v_request.locked_until > now() then
      return jsonb_build_object('state', 'running');
    end if;
  end if;
  delete from tunebase_internal.idempotency_keys where id = v_request.id;
  -- A new id, so that the old holder, if it is still running, cannot complete the key.
  insert into tunebase_internal.idempotency_keys (subject, key_hash, request_hash, locked_until)
  values (v_subject, p_key_hash, p_request_hash, v_until)
  returning * into v_request;
  return jsonb_build_object('state', 'new', 'id', v_request.id);
end $$;

-- schemas/functions/requests/take_rate_limit_tokens.sql
-- Takes up to p_want tokens from a caller's bucket, which holds one minute's requests and refills continuously. The API takes
-- several at once and uses them one by one. Returns {granted, left, limit, project_id}. Raises an error for unknown callers.
create function tunebase_internal.take_rate_limit_tokens(p_caller jsonb, p_want integer) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_who record;
  v_limit double precision;
  v_granted double precision;
  v_left double precision;
begin
  v_who := tunebase_internal.identify(p_caller);
  select requests_per_minute into v_limit from tunebase.projects where id = v_who.project_id;
  v_limit := coalesce(v_limit, 600);
  insert into tunebase_internal.rate_buckets as b (subject, tokens, counted_at)
  values (coalesce((v_who.api_key).id, (p_caller ->> 'user_id')::uuid), v_limit, now())
  on conflict (subject) do update
  -- clock_timestamp() instead of now(): a transaction that waited for the row started before the other one's update.
  set tokens = least(
      v_limit, b.tokens + greatest(0, extract(epoch from clock_timestamp() - b.counted_at)) * v_limit / 60
    ), counted_at = greatest(b.counted_at, clock_timestamp())
  returning tokens into v_left;
  v_granted := least(p_want, floor(v_left));
  if v_granted > 0 then
    update tunebase_internal.rate_buckets set tokens = tokens - v_granted
    where subject = coalesce((v_who.api_key).id, (p_caller ->> 'user_id')::uuid);
  end if;
  return jsonb_build_object(
    'granted', v_granted, 'left', v_left - v_granted, 'limit', v_limit, 'project_id', v_who.project_id
  );
end $$;

-- schemas/functions/spend/dispatch_budgets.sql
-- How long each of these queued jobs may run within the remaining budgets, at its GPU's price. Leaves out jobs on a free GPU
-- and jobs without any cap. Call it with claim_dispatch's lock held.
--
-- RunPod ends every live attempt at its execution timeout, so the cost until then is committed: spent, committed and newly
-- granted amounts together never exceed the project's cap, even without the watchdog. The rest of the budget is granted as
-- follows. A job with its own cap gets up to that cap. A job with an estimate gets its reservation plus the same amount
-- again, or half an hour of its GPU. Any other job gets an equal share with the jobs that could start now and, while the
-- project may run more, one later job. Every job gets at least five minutes, even from others' reservations, or jobs could
-- wait for each other's reservations forever. verdict: run; wait, while live attempts hold the budget; or fail, if the cap leaves
-- less than half a minute of GPU time, which is too little to load a model.
create function tunebase_internal.dispatch_budgets(p_job_ids uuid[])
returns table (job_id uuid, verdict text, max_seconds integer, message text)
language plpgsql stable set search_path = ''
as $$
#variable_conflict use_column
begin
  -- In plpgsql, which caches the plan: language sql would plan this query again at every claim.
  return query with this_month as (
    select date_trunc('month', now() at time zone 'utc') at time zone 'utc' as starts_at
  ), chosen as (
    select j.id, j.project_id, j.spend_cap_usd - j.cost_usd as job_left, j.spend_cap_usd as job_cap,
      p.spend_cap_usd as project_cap, p.max_running, x.place, greatest(j.reserved_usd - j.cost_usd, 0) as own,
      (m.gpu_config ->> 'cost_per_gpu_hour')::numeric * (m.gpu_config ->> 'num_gpus')::numeric as usd_per_hour
    from unnest(p_job_ids) with ordinality x (id, place)
    join tunebase.jobs j on j.id = x.id
    join tunebase.projects p on p.id = j.project_id
    join tunebase.base_models m on m.id = j.base_model
    where (m.gpu_config ->> 'cost_per_gpu_hour')::numeric > 0 and (m.gpu_config ->> 'num_gpus')::numeric > 0
      and (j.spend_cap_usd is not null or p.spend_cap_usd is not null)
  ), project as (
    select project_id, project_cap, max_running, sum(own) as own, count(*) as jobs
    from chosen where project_cap is not null group by project_id, project_cap, max_running
  ), money as (
    select p.*, a.spent + tunebase_internal.inference_spend(p.project_id) as spent, a.committed, a.alive,
      (
        -- Reservations of other unfinished jobs, except those with a live attempt, which is committed.
        select coalesce(sum(greatest(j.reserved_usd - j.cost_usd, 0)), 0) from tunebase.jobs j
        where j.project_id = p.project_id and tunebase_internal.is_open(j.status)
          and j.reserved_usd > 0 and j.id <> all (p_job_ids)
          and not exists (select from tunebase.attempts o where o.job_id = j.id and o.state <> 'ended')
      ) as held,
      (
        select count(*) from (
          select from tunebase.jobs j
          where j.project_id = p.project_id and j.status = 'queued' and j.due_at <= now() and j.due_at < 'infinity'
          limit greatest(p.max_running - a.alive, 1)
        ) due
      ) as could_start
    from project p
    cross join lateral (
      select count(*) filter (where a.state <> 'ended') as alive,
        coalesce(sum(c.cost) filter (where a.started_at is not null), 0) as spent,
        coalesce(sum(greatest(
          a.execution_timeout_seconds / 3600.0
            * (a.gpu_config ->> 'cost_per_gpu_hour')::numeric * (a.gpu_config ->> 'num_gpus')::numeric - c.cost, 0
        )) filter (where a.state <> 'ended'), 0) as committed
      from tunebase.attempts a
      cross join lateral (
        select case
          when a.state = 'ended' then a.cost_usd else coalesce(tunebase_internal.attempt_cost(a), 0)
        end as cost
      ) c
      where a.project_id = p.project_id
        and (a.started_at >= (select starts_at from this_month) or (a.started_at is null and a.state <> 'ended'))
    ) a
  ), wanted as (
    select c.*, m.spent, m.project_cap - m.spent - m.committed as pool,
      greatest(c.usd_per_hour / 12, c.own + case
        when c.job_cap is not null then least(m.free / m.takers, c.job_left - c.own)
        when c.own > 0 then least(m.free / m.takers, greatest(c.own, c.usd_per_hour / 2))
        else m.free / (m.takers + (m.max_running > m.alive + m.takers)::integer)
      end) as share
    from chosen c left join (
      select m.*, greatest(m.project_cap - m.spent - m.committed - m.held - m.own, 0) as free,
        greatest(m.jobs, m.could_start) as takers
      from money m
    ) m using (project_id)
  ), shared as (
    -- The order matters only if the budget does not cover all shares.
    select w.*, case when pool is null then job_left else least(
      job_left, share,
      greatest(pool - coalesce(sum(share) over (
        partition by project_id order by place rows between unbounded preceding and 1 preceding
      ), 0), 0)
    ) end as usd
    from wanted w
  ), decided as (
    select s.*, least(floor(usd * 3600 / usd_per_hour), 604800)::integer as seconds, usd_per_hour / 120 as min_usd
    from shared s
  )
  select id,
    case
      when seconds >= 30 then 'run'
      when job_left < min_usd or project_cap - spent < min_usd then 'fail'
      else 'wait'
    end,
    seconds,
    case
      when seconds >= 30 then null
      when job_left < min_usd then format('The job has %s USD left of its spend cap of %s USD, which is too little to run on its GPU.',
        round(greatest(job_left, 0), 2), round(job_cap, 2))
      when project_cap - spent < min_usd then format(
        'The project has %s USD left of this month''s spend cap of %s USD, which is too little to run on the job''s GPU.',
        round(greatest(project_cap - spent, 0), 2), round(project_cap, 2))
      else format('running jobs may still use the remaining %s USD of the project''s spend cap',
        round(project_cap - spent, 2))
    end
  from decided;
end $$;

-- schemas/functions/spend/enforce_job_cap.sql
-- Warns at 80% of a job's cap and fails the job at 100%. Call it with the job locked.
create function tunebase_internal.enforce_job_cap(p_job tunebase.jobs) returns boolean
language plpgsql set search_path = ''
as $$
begin
  if p_job.cost_usd >= p_job.spend_cap_usd then
    perform tunebase_internal.fail_job(
      p_job.id, 'spend_cap',
      format('The job has cost %s USD and reached its spend cap of %s USD.', round(p_job.cost_usd, 2), round(p_job.spend_cap_usd, 2)),
      'The newest checkpoint is kept. Create the job again with a higher spend_cap_usd.'
    );
    perform tunebase_internal.request_attempt_cancellation(p_job.id);
    return true;
  end if;
  if p_job.cost_usd >= 0.8 * p_job.spend_cap_usd and p_job.budget_warned_at is null then
    update tunebase.jobs set budget_warned_at = now() where id = p_job.id;
    perform tunebase_internal.add_event(p_job.id, 'warn', format(
      'The job has cost %s USD, 80%% of its spend cap of %s USD.', round(p_job.cost_usd, 2), round(p_job.spend_cap_usd, 2)
    ));
  end if;
  return false;
end $$;

-- schemas/functions/spend/enforce_project_cap.sql
-- At a project's monthly cap, fails its queued and running jobs. At 80%, warns the running ones.
create function tunebase_internal.enforce_project_cap(p_project tunebase.projects) returns integer
language plpgsql set search_path = ''
as $$
declare
  v_month date := date_trunc('month', now() at time zone 'utc')::date;
  v_spent numeric;
  v_job_id uuid;
  v_failed integer := 0;
begin
  select coalesce(sum(cost_usd), 0) + tunebase_internal.inference_spend(p_project.id) into v_spent from tunebase.attempts
  where project_id = p_project.id and started_at >= v_month::timestamp at time zone 'utc';
  if v_spent < 0.8 * p_project.spend_cap_usd
    or (v_spent < p_project.spend_cap_usd and p_project.budget_warned_month is not distinct from v_month) then
    return 0;
  end if;
  for v_job_id in
    select id from tunebase.jobs
    where project_id = p_project.id
      and (status = 'running' or (status = 'queued' and v_spent >= p_project.spend_cap_usd))
    order by id for no key update
  loop
    if v_spent >= p_project.spend_cap_usd then
      perform tunebase_internal.fail_job(
        v_job_id, 'spend_cap',
        format('The project has spent %s USD this month and reached its spend cap of %s USD.',
          round(v_spent, 2), round(p_project.spend_cap_usd, 2)),
        'The newest checkpoint is kept. Ask a project owner to raise the cap, then create the job again.'
      );
      perform tunebase_internal.request_attempt_cancellation(v_job_id);
      v_failed := v_failed + 1;
    else
      update tunebase.jobs set budget_warned_at = now() where id = v_job_id;
      perform tunebase_internal.add_event(v_job_id, 'warn', format(
        'The project has spent %s USD this month, 80%% of its spend cap of %s USD.',
        round(v_spent, 2), round(p_project.spend_cap_usd, 2)
      ));
    end if;
  end loop;
  update tunebase.projects set budget_warned_month = v_month
  where id = p_project.id and v_spent >= 0.8 * spend_cap_usd;
  return v_failed;
end $$;

-- schemas/functions/spend/enforce_spend.sql
-- The watchdog: updates the cost of running jobs and enforces the caps. Returns how many jobs it failed. claim_dispatch
-- already limits each attempt's execution timeout to its caps; the watchdog also covers prices and caps that change.
create function tunebase_internal.enforce_spend() returns integer
language plpgsql security definer set search_path = ''
as $$
declare
  v_job tunebase.jobs;
  v_project tunebase.projects;
  v_id uuid;
  v_failed integer := 0;
begin
  -- Locks the job first, like every transition.
  for v_id in
    select j.id from tunebase.jobs j
    join tunebase.projects p on p.id = j.project_id
    where j.status = 'running' and (j.spend_cap_usd is not null or p.spend_cap_usd is not null)
      -- A free GPU costs nothing.
      and exists (
        select from tunebase.attempts a
        where a.job_id = j.id and a.state = 'running' and (a.gpu_config ->> 'cost_per_gpu_hour')::numeric > 0
      )
    order by j.id
  loop
    select * into v_job from tunebase.jobs where id = v_id and status = 'running' for no key update;
    continue when not found;
    perform tunebase_internal.update_attempt_cost(a.id) from tunebase.attempts a where a.job_id = v_id and a.state = 'running';
    select * into v_job from tunebase.jobs where id = v_id;
    if v_job.spend_cap_usd is not null and tunebase_internal.enforce_job_cap(v_job) then
      v_failed := v_failed + 1;
    end if;
  end loop;
  for v_project in
    select p.* from tunebase.projects p
    where p.spend_cap_usd is not null
      and exists (select from tunebase.jobs j where j.project_id = p.id and j.status in ('queued', 'running'))
      -- Skips the many projects that are far from their cap.
      and 0.8 * p.spend_cap_usd <= (
        select sum(cost_usd) from tunebase.attempts a
        where a.project_id = p.id and a.started_at >= date_trunc('month', now() at time zone 'utc') at time zone 'utc'
      )
  loop
    v_failed := v_failed + tunebase_internal.enforce_project_cap(v_project);
  end loop;
  return v_failed;
end $$;

-- schemas/functions/spend/require_spend_room.sql
-- Raises spend_cap_exceeded if a reservation that this transaction has written does not fit under the project's cap.
-- p_is_request: an inference request instead of a job. Call it last: its lock is held until the commit, so that two
-- transactions cannot reserve the same budget, and one project's reservations wait for each other. A lock of its own, so
-- that nothing else does.
create function tunebase_internal.require_spend_room(p_project_id uuid, p_reserved numeric, p_is_request boolean) returns void
language plpgsql set search_path = ''
as $$
declare
  v_cap numeric;
  v_spent numeric;
begin
  select spend_cap_usd into v_cap from tunebase.projects where id = p_project_id;
  if v_cap is null then
    return;
  end if;
  if p_reserved > 0 then
    perform pg_advisory_xact_lock(hashtextextended('tunebase spend ' || p_project_id, 0));
  end if;
  v_spent := tunebase_internal.project_spend(p_project_id) - p_reserved;
  if v_spent + p_reserved > v_cap then
    perform tunebase_internal.raise_api_error('spend_cap_exceeded', jsonb_build_object(
      'cap', v_cap, 'spent', round(v_spent, 4), 'reserved', round(p_reserved, 4), 'request', p_is_request
    ));
  end if;
end $$;

-- schemas/functions/spend/settle_unaffordable.sql
-- For jobs that claim_dispatch has chosen and locked: fails those without budget, postpones those whose budget other jobs
-- hold, and logs when a cap limits an attempt. Returns the jobs that may run, with max_seconds (null: no cap).
create function tunebase_internal.settle_unaffordable(p_job_ids uuid[])
returns table (job_id uuid, max_seconds integer)
language plpgsql set search_path = ''
as $$
declare
  v_budget record;
begin
  for v_budget in
    select x.id, b.verdict, b.max_seconds, b.message, m.execution_timeout_seconds as model_seconds
    from unnest(p_job_ids) x (id)
    left join tunebase_internal.dispatch_budgets(p_job_ids) b on b.job_id = x.id
    left join tunebase.jobs j on j.id = b.job_id
    left join tunebase.base_models m on m.id = j.base_model
  loop
    if v_budget.verdict = 'fail' then
      perform tunebase_internal.fail_job(
        v_budget.id, 'spend_cap', v_budget.message,
        'Raise the cap (or wait until next month, if it is the project''s), then create the job again.'
      );
    elsif v_budget.verdict = 'wait' then
      update tunebase.jobs set due_at = now() + interval '30 seconds', status_reason = v_budget.message where id = v_budget.id;
    else
      if v_budget.max_seconds < v_budget.model_seconds then
        perform tunebase_internal.add_event(v_budget.id, 'info', format(
          'This attempt is limited to %s minutes by its spend caps.', floor(v_budget.max_seconds / 60.0)
        ));
      end if;
      job_id := v_budget.id;
      max_seconds := v_budget.max_seconds;
      return next;
    end if;
  end loop;
end $$;

-- schemas/functions/support/backoff_seconds.sql
-- 5 s, 10 s, 20 s … up to 5 minutes.
create function tunebase_internal.backoff_seconds(p_failures integer) returns double precision
language sql immutable
return least(300, 5 * power(2::double precision, p_failures));

-- schemas/functions/support/paginate.sql
-- One page as {data, has_more}. p_rows holds one row more than the page when there are more.
create function tunebase_internal.paginate(p_rows jsonb, p_limit integer) returns jsonb
language sql immutable set search_path = ''
as $$
  select jsonb_build_object(
    'data', case when jsonb_array_length(coalesce(p_rows, '[]')) > p_limit then p_rows - p_limit else coalesce(p_rows, '[]') end,
    'has_more', jsonb_array_length(coalesce(p_rows, '[]')) > p_limit
  )
$$;

-- schemas/functions/support/prune_cron_runs.sql
-- Deletes our pg_cron runs that are older than a day. pg_cron logs every run forever: 11,500 per day for our jobs.
create function tunebase_internal.prune_cron_runs() returns bigint
language plpgsql security definer set search_path = ''
as $$
declare
  v_count bigint;
begin
  if to_regclass('cron.job_run_details') is null then
    return 0;
  end if;
  -- Leaves the host app's runs alone.
  execute $sql$
    delete from cron.job_run_details
    where jobid in (select jobid from cron.job where jobname like 'tunebase-%') and end_time < now() - interval '1 day'
  $sql$;
  get diagnostics v_count = row_count;
  return v_count;
end $$;

-- schemas/functions/support/raise_alert.sql
-- Alerts the operator. Repeats of the same kind and subject increment `occurrences`.
create function tunebase_internal.raise_alert(p_kind text, p_subject text, p_message text) returns void
language sql set search_path = ''
as $$
  insert into tunebase_internal.alerts as a (kind, subject, message) values (p_kind, p_subject, p_message)
  on conflict (kind, subject) do update set message = excluded.message, occurrences = a.occurrences + 1, last_at = now()
$$;

-- schemas/functions/support/raise_api_error.sql
-- Raises an error of the API's catalog (`_shared/contracts/error_codes.ts`); p_detail fills in its message.
create function tunebase_internal.raise_api_error(p_code text, p_detail jsonb default '{}') returns void
language plpgsql set search_path = ''
as $$
begin
  raise exception using errcode = 'TB000', message = p_code, detail = p_detail::text;
end $$;

-- schemas/functions/support/require_version.sql
-- Raises precondition_failed if the request's If-Match does not include this version. Call it with the row locked, so that
-- only one of two concurrent edits succeeds. Every change of the row must set `version = version + 1`.
create function tunebase_internal.require_version(p_caller jsonb, p_version integer) returns void
language plpgsql immutable set search_path = ''
as $$
begin
  if p_caller ? 'if_match' and not p_version::text = any (string_to_array(p_caller ->> 'if_match', ',')) then
    perform tunebase_internal.raise_api_error('precondition_failed');
  end if;
end $$;

-- schemas/functions/support/uuid7_lower_bound.sql
-- The lowest UUIDv7 of a given time. With it, a time range is a primary key range and needs no additional index.
create function tunebase_internal.uuid7_lower_bound(p_time timestamptz) returns uuid
language sql immutable set search_path = ''
as $$
  select rpad(lpad(to_hex(floor(extract(epoch from p_time) * 1000)::bigint), 12, '0'), 32, '0')::uuid
$$;

-- schemas/functions/support/wake_scheduler.sql
-- Calls the scheduler when this transaction commits (pg_net sends after the commit), if Vault holds its URL and secret
-- (tunebase_scheduler_url, tunebase_scheduler_secret). Never fails, so that its caller cannot fail because of it.
create function tunebase_internal.wake_scheduler() returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_url text;
  v_secret text;
begin
  -- Plain Postgres has neither, and must not pay for the block below: it costs a subtransaction.
  if to_regnamespace('vault') is null or to_regnamespace('net') is null then
    return;
  end if;
  begin
    if to_regclass('vault.decrypted_secrets') is null
      or to_regprocedure('net.http_post(text, jsonb, jsonb, jsonb, integer)') is null then
      return;
    end if;
    execute 'select max(decrypted_secret) filter (where name = ''tunebase_scheduler_url''),
      max(decrypted_secret) filter (where name = ''tunebase_scheduler_secret'') from vault.decrypted_secrets'
    into v_url, v_secret;
    if v_url is null or v_secret is null then
      return;
    end if;
    -- pg_net's default timeout of 2 s would cut off a tick that drains a queue.
    execute 'select net.http_post(url := $1, headers := $2, timeout_milliseconds := 60000)'
    using v_url, jsonb_build_object('content-type', 'application/json', 'authorization', 'Bearer ' || v_secret);
  exception when others then
    raise warning 'tunebase_internal.wake_scheduler: %', sqlerrm;
  end;
end $$;

-- schemas/functions/tenancy/add_owner.sql
-- For the operator, who runs it as the database's owner: creates a project for a user, unless they already own an active one.
-- Returns the project's id.
create function tunebase_internal.add_owner(p_email text, p_name text default null) returns uuid
language plpgsql set search_path = ''
as $$
declare
  v_user_id uuid := tunebase_internal.find_user(p_email);
  v_project_id uuid;
  v_project tunebase.projects;
begin
  -- Two calls at once create one project.
  perform pg_advisory_xact_lock(hashtextextended('tunebase projects ' || v_user_id, 0));
  v_project_id := tunebase_internal.find_owned_project(v_user_id);
  if v_project_id is null then
    v_project := tunebase_internal.insert_project(
      v_user_id, left(coalesce(nullif(btrim(p_name), ''), split_part(p_email, '@', 1)), 100)
    );
    v_project_id := v_project.id;
  end if;
  return v_project_id;
end $$;

-- schemas/functions/tenancy/authorize.sql
-- Authorizes the caller for a scope and returns the project. Raises invalid_api_key, project_not_found, insufficient_scope,
-- insufficient_role or project_archived.
create function tunebase_internal.authorize(p_caller jsonb, p_scope text) returns uuid
language plpgsql security definer set search_path = ''
as $$
declare
  v_who record;
begin
  v_who := tunebase_internal.identify(p_caller);
  if v_who.project_id is null then
    perform tunebase_internal.raise_api_error('project_not_found');
  elsif v_who.role is null and not p_scope = any ((v_who.api_key).scopes) then
    perform tunebase_internal.raise_api_error('insufficient_scope', jsonb_build_object('scope', p_scope));
  elsif v_who.role is not null and not tunebase_internal.role_allows(v_who.role, p_scope) then
    perform tunebase_internal.raise_api_error('insufficient_role', jsonb_build_object('scope', p_scope, 'role', v_who.role));
  elsif v_who.archived and p_scope not like '%:read' and p_scope not like '%:admin' then
    perform tunebase_internal.raise_api_error('project_archived');
  end if;
  return v_who.project_id;
end $$;

-- schemas/functions/tenancy/authorize_project.sql
-- Authorizes the caller for the project in a path: an API key for its own project, a user for any project they belong to.
create function tunebase_internal.authorize_project(p_caller jsonb, p_project_id uuid, p_scope text) returns uuid
language plpgsql security definer set search_path = ''
as $$
begin
  if p_caller ? 'key_hash' then
    if tunebase_internal.authorize(p_caller, p_scope) <> p_project_id then
      perform tunebase_internal.raise_api_error('project_not_found');
    end if;
    return p_project_id;
  end if;
  return tunebase_internal.authorize(p_caller || jsonb_build_object('project_id', p_project_id), p_scope);
end $$;

-- schemas/functions/tenancy/find_owned_project.sql
-- The oldest active project that a user owns; null when there is none.
create function tunebase_internal.find_owned_project(p_user_id uuid) returns uuid
language sql stable set search_path = ''
as $$
  select m.project_id
  from tunebase.project_members m join tunebase.projects p on p.id = m.project_id
  where m.user_id = p_user_id and m.role = 'owner' and p.archived_at is null
  order by m.created_at, m.project_id limit 1
$$;

-- schemas/functions/tenancy/find_user.sql
-- For the operator: the user with this confirmed email address. Confirmed, because anyone can sign up with another person's
-- address and their own password, and wait for that person to confirm it.
create function tunebase_internal.find_user(p_email text) returns uuid
language plpgsql stable set search_path = ''
as $$
declare
  v_ids uuid[];
  v_confirmed uuid[];
begin
  select array_agg(id), array_agg(id) filter (where email_confirmed_at is not null) into v_ids, v_confirmed
  from auth.users where lower(email) = lower(btrim(p_email));
  if v_ids is null then
    raise exception 'No user has the email address %. They must sign up first.', p_email;
  elsif v_confirmed is null then
    raise exception 'The user with the email address % has not confirmed it yet.', p_email;
  elsif cardinality(v_confirmed) > 1 then
    raise exception '% users have the email address %.', cardinality(v_confirmed), p_email;
  end if;
  return v_confirmed[1];
end $$;

-- schemas/functions/tenancy/get_caller.sql
-- The caller, their project and permissions, and whether they can create projects.
create function tunebase_internal.get_caller(p_caller jsonb) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_who record;
  v_project tunebase.projects;
begin
  v_who := tunebase_internal.identify(p_caller);
  select * into v_project from tunebase.projects where id = v_who.project_id;
  return jsonb_build_object(
    'user', (
      select jsonb_build_object('id', u.id, 'email', u.email) from auth.users u where u.id = (p_caller ->> 'user_id')::uuid
    ),
    'api_key', case when (v_who.api_key).id is not null then to_jsonb(v_who.api_key) end,
    'scopes', case
      when (v_who.api_key).id is not null then to_jsonb((v_who.api_key).scopes)
      else coalesce((
        select jsonb_agg(s order by n) from unnest(tunebase_internal.scopes()) with ordinality x (s, n)
        where tunebase_internal.role_allows(v_who.role, s)
      ), '[]')
    end,
    'project', case when v_project.id is not null then
      tunebase_internal.project_json(v_project, v_who.role) || jsonb_build_object('use', tunebase_internal.project_usage(v_project.id))
    end,
    'can_create_project', coalesce(tunebase_internal.can_create_project((p_caller ->> 'user_id')::uuid), false)
      and p_caller ? 'user_id',
    'invitations', tunebase_internal.list_user_invitations(p_caller)
  );
end $$;

-- schemas/functions/tenancy/get_user_id.sql
-- The user whose read marks a caller uses: the user itself, or the creator of an API key.
create function tunebase_internal.get_user_id(p_caller jsonb) returns uuid
language sql stable set search_path = ''
as $$
  select coalesce(
    (p_caller ->> 'user_id')::uuid,
    (
      select k.created_by
      from tunebase_internal.api_key_hashes h join tunebase.api_keys k on k.id = h.api_key_id
      where h.hash = decode(p_caller ->> 'key_hash', 'hex')
    )
  )
$$;

-- schemas/functions/tenancy/identify.sql
-- Identifies the caller and their project. A caller is {key_hash: hex} or {user_id, project_id?}; the edge function has
-- authenticated it. The default project of a user is their oldest active one; project_id is null if they have none. Raises
-- invalid_api_key, invalid_token (tokens outlive deleted users), project_without_members or project_not_found.
create function tunebase_internal.identify(
  p_caller jsonb, out project_id uuid, out archived boolean, out role text, out api_key tunebase.api_keys
)
language plpgsql security definer set search_path = ''
as $$
declare
  v_found record;
begin
  if p_caller ? 'key_hash' then
    select k as api_key, p.archived_at is not null as archived,
      exists (select from tunebase.project_members m where m.project_id = p.id) as has_members
    into v_found
    from tunebase_internal.api_key_hashes h
    join tunebase.api_keys k on k.id = h.api_key_id
    join tunebase.projects p on p.id = k.project_id
    where h.hash = decode(p_caller ->> 'key_hash', 'hex')
      and k.revoked_at is null
      and (k.expires_at is null or k.expires_at > now());
    if not found then
      perform tunebase_internal.raise_api_error('invalid_api_key');
    elsif not v_found.has_members then
      -- Without members, nobody could see what the key does, or revoke it.
      perform tunebase_internal.raise_api_error('project_without_members');
    end if;
    api_key := v_found.api_key;
    project_id := api_key.project_id;
    archived := v_found.archived;
    -- At most once per minute, to avoid a write per request.
    if api_key.last_used_at is null or api_key.last_used_at < now() - interval '1 minute' then
      update tunebase.api_keys set last_used_at = now() where id = api_key.id;
    end if;
    return;
  end if;

  select m.project_id, m.role, p.archived_at is not null into project_id, role, archived
  from tunebase.project_members m
  join tunebase.projects p on p.id = m.project_id
  where m.user_id = (p_caller ->> 'user_id')::uuid
    and (p_caller ->> 'project_id' is null or m.project_id = (p_caller ->> 'project_id')::uuid)
  order by p.archived_at is not null, m.created_at, m.project_id
  limit 1;
  if project_id is null then
    -- Deleting a user deletes their memberships, so only a user without any can be gone.
    perform tunebase_internal.require_existing_user((p_caller ->> 'user_id')::uuid);
    if p_caller ->> 'project_id' is not null then
      perform tunebase_internal.raise_api_error('project_not_found');
    end if;
  end if;
end $$;

-- schemas/functions/tenancy/require_existing_user.sql
create function tunebase_internal.require_existing_user(p_user_id uuid) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  perform from auth.users where id = p_user_id;
  if not found then
    perform tunebase_internal.raise_api_error('invalid_token');
  end if;
end $$;

-- schemas/functions/tenancy/require_user_id.sql
-- The calling user. Raises user_token_required for an API key, and invalid_token if the user was deleted.
create function tunebase_internal.require_user_id(p_caller jsonb) returns uuid
language plpgsql stable set search_path = ''
as $$
begin
  if p_caller ->> 'user_id' is null then
    perform tunebase_internal.raise_api_error('user_token_required');
  end if;
  perform tunebase_internal.require_existing_user((p_caller ->> 'user_id')::uuid);
  return (p_caller ->> 'user_id')::uuid;
end $$;

-- schemas/functions/tenancy/role_allows.sql
-- Which scopes a role implies: viewers can read, developers can do everything except manage the project, owners everything.
create function tunebase_internal.role_allows(p_role text, p_scope text) returns boolean
language sql immutable
return case p_role
  when 'owner' then true
  when 'developer' then p_scope not like '%:admin'
  when 'viewer' then p_scope like '%:read'
  else false
end;

-- schemas/functions/tenancy/store_first_api_key.sql
-- For the operator: stores a key for a project without a caller. Returns the key's id.
create function tunebase_internal.store_first_api_key(
  p_project_id uuid, p_name text, p_scopes text[], p_hash bytea, p_hint text, p_created_by uuid default null
) returns uuid
language sql set search_path = ''
as $$
  select (tunebase_internal.insert_api_key(
    p_project_id,
    jsonb_build_object('name', p_name, 'scopes', p_scopes, 'hint', p_hint, 'created_by', p_created_by), p_hash
  )).id
$$;

-- schemas/functions/tenancy/store_owner_api_key.sql
-- For the operator (`task operator api-key`): stores a key for the project that this user owns. Returns the key's id.
create function tunebase_internal.store_owner_api_key(p_email text, p_hash bytea, p_hint text) returns uuid
language plpgsql set search_path = ''
as $$
declare
  v_user_id uuid := tunebase_internal.find_user(p_email);
  v_project_id uuid := tunebase_internal.find_owned_project(v_user_id);
begin
  if v_project_id is null then
    raise exception '% owns no project. Run add_owner first: task operator owner %', p_email, p_email;
  end if;
  return tunebase_internal.store_first_api_key(
    v_project_id, 'First key',
    '{files:read,files:write,jobs:read,jobs:write,models:read,inference,webhooks:read,webhooks:write}', p_hash, p_hint, v_user_id
  );
end $$;

-- schemas/functions/uploads/authorize_upload.sql
-- Locks an upload of the caller's project. Raises upload_not_found.
create function tunebase_internal.authorize_upload(p_caller jsonb, p_id uuid, p_kind text) returns tunebase_internal.uploads
language plpgsql set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'files:write');
  v_upload tunebase_internal.uploads;
begin
  select * into v_upload from tunebase_internal.uploads
  where id = p_id and project_id = v_project_id and kind = p_kind
  for update;
  if not found then
    perform tunebase_internal.raise_api_error('upload_not_found');
  end if;
  -- Expired even if cleanup has not run yet.
  if v_upload.status = 'pending' and v_upload.expires_at <= now() then
    v_upload.status := 'expired';
  end if;
  return v_upload;
end $$;

-- schemas/functions/uploads/begin_upload_part.sql
-- Records a part before its bytes arrive, so that every object has a record.
create function tunebase_internal.begin_upload_part(p_caller jsonb, p_upload_id uuid, p_part_id uuid) returns text
language plpgsql security definer set search_path = ''
as $$
declare
  v_upload tunebase_internal.uploads := tunebase_internal.authorize_upload(p_caller, p_upload_id, 'parts');
  v_parts bigint;
  v_object text;
begin
  perform tunebase_internal.require_pending(v_upload);
  select count(*) into v_parts from tunebase_internal.upload_parts where upload_id = p_upload_id;
  -- 8 GiB in parts of 1 MiB. Without a limit, parts could fill Storage.
  if v_parts >= 8192 then
    perform tunebase_internal.raise_api_error('too_many_parts', '{"max": 8192}');
  end if;
  v_object := 'parts/' || v_upload.project_id || '/' || p_upload_id || '/' || p_part_id;
  insert into tunebase_internal.upload_parts (id, upload_id, object) values (p_part_id, p_upload_id, v_object);
  return v_object;
end $$;

-- schemas/functions/uploads/cancel_upload.sql
-- Cancels an upload, including direct ones: pending uploads count against the storage quota.
create function tunebase_internal.cancel_upload(p_caller jsonb, p_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_kind text;
  v_upload tunebase_internal.uploads;
begin
  select kind into v_kind from tunebase_internal.uploads where id = p_id;
  v_upload := tunebase_internal.authorize_upload(p_caller, p_id, coalesce(v_kind, 'parts'));
  if v_upload.status <> 'cancelled' then
    perform tunebase_internal.require_pending(v_upload);
    update tunebase_internal.uploads set status = 'cancelled' where id = p_id;
    perform tunebase_internal.discard_upload(v_upload);
  end if;
  return tunebase_internal.upload_json(p_id);
end $$;

-- schemas/functions/uploads/complete_direct_upload.sql
-- Creates the file of a direct upload, whose bytes were moved to p_object, out of reach of the upload token. Called again, it
-- returns the same file.
create function tunebase_internal.complete_direct_upload(p_caller jsonb, p_id uuid, p_object text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_upload tunebase_internal.uploads := tunebase_internal.authorize_upload(p_caller, p_id, 'direct');
begin
  if v_upload.status <> 'completed' then
    perform tunebase_internal.require_pending(v_upload);
    perform tunebase_internal.create_uploaded_file(
      v_upload, p_id, jsonb_build_array(jsonb_build_object('object', p_object, 'bytes', v_upload.bytes)), null, p_object
    );
    -- The upload token is still valid for a while and could write there again.
    insert into tunebase_internal.orphaned_objects (bucket, object, next_at)
    values ('tunebase-datasets', v_upload.object, now() + interval '25 hours')
    on conflict do nothing;
  end if;
  return tunebase_internal.upload_json(p_id);
end $$;

-- schemas/functions/uploads/complete_upload.sql
-- Creates a file from parts, in the order of p_part_ids. A single part becomes the file's object. Validation, which reads all
-- parts anyway, copies several into one object: Storage cannot concatenate objects, and the trainer downloads a single URL.
-- Called again, it returns the same file.
create function tunebase_internal.complete_upload(p_caller jsonb, p_id uuid, p_part_ids uuid[], p_md5 text, p_file_id uuid)
returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_upload tunebase_internal.uploads := tunebase_internal.authorize_upload(p_caller, p_id, 'parts');
  v_sources jsonb;
  v_bytes bigint;
  v_known bigint;
begin
  if v_upload.status = 'completed' then
    return tunebase_internal.upload_json(p_id);
  end if;
  perform tunebase_internal.require_pending(v_upload);
  select jsonb_agg(jsonb_build_object('object', p.object, 'bytes', p.bytes) order by o.place) filter (where p.bytes > 0),
    sum(p.bytes), count(distinct p.id)
  into v_sources, v_bytes, v_known
  from unnest(p_part_ids) with ordinality o (id, place)
  join tunebase_internal.upload_parts p on p.id = o.id and p.upload_id = p_id and p.bytes is not null;
  if v_known <> cardinality(p_part_ids) then
    perform tunebase_internal.raise_api_error('part_not_found', '{"param": "part_ids"}');
  elsif v_bytes is distinct from v_upload.bytes then
    perform tunebase_internal.raise_api_error('upload_size', jsonb_build_object(
      'bytes', v_upload.bytes, 'parts', coalesce(v_bytes, 0), 'param', 'part_ids'
    ));
  end if;
  perform tunebase_internal.create_uploaded_file(
    v_upload, p_file_id, v_sources, p_md5,
    case when jsonb_array_length(v_sources) = 1 then v_sources -> 0 ->> 'object'
    else v_upload.project_id || '/' || p_file_id || '.jsonl' end
  );
  perform tunebase_internal.discard_upload_parts(p_id, p_part_ids);
  -- From here on the parts' objects belong to the file and its validation.
  delete from tunebase_internal.upload_parts where upload_id = p_id;
  return tunebase_internal.upload_json(p_id);
end $$;

-- schemas/functions/uploads/complete_upload_part.sql
-- Records that a part is in Storage. Raises upload_not_pending, or upload_size if the parts exceed the declared size by more
-- than one part: a client that did not receive the response sends its part again and completes with one of the two.
create function tunebase_internal.complete_upload_part(p_caller jsonb, p_upload_id uuid, p_part_id uuid, p_bytes bigint)
returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_upload tunebase_internal.uploads := tunebase_internal.authorize_upload(p_caller, p_upload_id, 'parts');
  v_part tunebase_internal.upload_parts;
  v_sent bigint;
begin
  perform tunebase_internal.require_pending(v_upload);
  select coalesce(sum(bytes), 0) + p_bytes into v_sent
  from tunebase_internal.upload_parts where upload_id = p_upload_id and id <> p_part_id;
  if p_bytes > v_upload.bytes or v_sent > v_upload.bytes + least(v_upload.bytes, 67108864) then
    perform tunebase_internal.raise_api_error('upload_size', jsonb_build_object('bytes', v_upload.bytes, 'parts', v_sent, 'param', 'data'));
  end if;
  update tunebase_internal.upload_parts set bytes = p_bytes where id = p_part_id and upload_id = p_upload_id returning * into strict v_part;
  return to_jsonb(v_part);
end $$;

-- schemas/functions/uploads/create_upload.sql
-- p_upload: {id, kind, object, filename, purpose, bytes, mime_type, file_expires_after, lives_seconds}.
create function tunebase_internal.create_upload(p_caller jsonb, p_upload jsonb) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'files:write');
  v_upload tunebase_internal.uploads;
begin
  insert into tunebase_internal.uploads (
    id, project_id, kind, object, filename, purpose, bytes, mime_type, file_expires_after, expires_at
  ) values (
    (p_upload ->> 'id')::uuid, v_project_id, p_upload ->> 'kind',
    -- Not under the prefix of files: the client's token could overwrite the object after the upload.
    case when p_upload ->> 'kind' = 'direct' then 'incoming/' || v_project_id || '/' || (p_upload ->> 'id') end,
    p_upload ->> 'filename', p_upload ->> 'purpose', (p_upload ->> 'bytes')::bigint, p_upload ->> 'mime_type',
    (p_upload ->> 'file_expires_after')::integer,
    now() + make_interval(secs => (p_upload ->> 'lives_seconds')::integer)
  )
  returning * into v_upload;
  return to_jsonb(v_upload);
end $$;

-- schemas/functions/uploads/create_uploaded_file.sql
create function tunebase_internal.create_uploaded_file(
  p_upload tunebase_internal.uploads, p_file_id uuid, p_sources jsonb, p_md5 text, p_object text
) returns void
language plpgsql set search_path = ''
as $$
begin
  -- First, so that the bytes are not counted twice: as pending and as a file.
  update tunebase_internal.uploads set status = 'completed' where id = p_upload.id;
  insert into tunebase.files (id, project_id, filename, purpose, bytes, status, object, expires_at)
  values (
    p_file_id, p_upload.project_id, p_upload.filename, p_upload.purpose, p_upload.bytes, 'uploaded', p_object,
    now() + make_interval(secs => p_upload.file_expires_after)
  );
  insert into tunebase_internal.file_validations (file_id, sources, is_copied, md5)
  values (p_file_id, p_sources, jsonb_array_length(p_sources) > 1, p_md5);
  update tunebase_internal.uploads set file_id = p_file_id where id = p_upload.id;
end $$;

-- schemas/functions/uploads/discard_upload.sql
-- Orphans the objects of an upload that was cancelled or has expired.
create function tunebase_internal.discard_upload(p_upload tunebase_internal.uploads) returns void
language sql set search_path = ''
as $$
  select tunebase_internal.discard_upload_parts(p_upload.id, '{}');
  insert into tunebase_internal.orphaned_objects (bucket, object, next_at)
  select 'tunebase-datasets', o.object, o.next_at
  from (values
    -- After its token has expired, because the token could write the object again.
    (p_upload.object, now() + interval '25 hours'),
    -- The target of an interrupted or concurrent completion.
    (p_upload.project_id || '/' || p_upload.id || '.jsonl', now() + interval '1 hour')
  ) o (object, next_at)
  where p_upload.kind = 'direct'
  on conflict do nothing
$$;

-- schemas/functions/uploads/discard_upload_parts.sql
-- Orphans the parts of an upload: now, or in an hour if a part may still be on its way to Storage.
create function tunebase_internal.discard_upload_parts(p_upload_id uuid, p_keep uuid[]) returns void
language sql set search_path = ''
as $$
  with discarded as (
    delete from tunebase_internal.upload_parts where upload_id = p_upload_id and id <> all (p_keep) returning object, bytes
  )
  insert into tunebase_internal.orphaned_objects (bucket, object, next_at)
  select 'tunebase-datasets', object, now() + case when bytes is null then interval '1 hour' else interval '0' end from discarded
  on conflict do nothing
$$;

-- schemas/functions/uploads/enforce_upload_quota.sql
-- Rejects an upload before its bytes arrive if its file would exceed the storage quota, or if there are too many pending
-- uploads: the size of a direct upload is only known once the client completes it.
create function tunebase_internal.enforce_upload_quota() returns trigger
language plpgsql set search_path = ''
as $$
declare
  v_used integer;
begin
  -- Locks the project, so that the count is exact.
  perform tunebase_internal.check_storage_quota(new.project_id, new.bytes);
  select count(*) into v_used from tunebase_internal.uploads
  where project_id = new.project_id and status = 'pending' and expires_at > now();
  if v_used >= 100 then
    perform tunebase_internal.raise_api_error('quota_exceeded', jsonb_build_object(
      'what', 'pending uploads per project', 'limit', 100, 'used', v_used, 'fix', 'Complete or cancel one (POST /uploads/{id}/cancel).'
    ));
  end if;
  return new;
end $$;

-- schemas/functions/uploads/get_direct_upload.sql
-- A direct upload of the caller's project.
create function tunebase_internal.get_direct_upload(p_caller jsonb, p_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_upload tunebase_internal.uploads := tunebase_internal.authorize_upload(p_caller, p_id, 'direct');
begin
  if v_upload.status <> 'completed' then
    perform tunebase_internal.require_pending(v_upload);
  end if;
  return tunebase_internal.upload_json(p_id);
end $$;

-- schemas/functions/uploads/require_pending.sql
create function tunebase_internal.require_pending(p_upload tunebase_internal.uploads) returns void
language plpgsql set search_path = ''
as $$
begin
  if p_upload.status <> 'pending' then
    perform tunebase_internal.raise_api_error('upload_not_pending', jsonb_build_object('status', p_upload.status));
  end if;
end $$;

-- schemas/functions/uploads/upload_json.sql
-- An upload with its file.
create function tunebase_internal.upload_json(p_id uuid) returns jsonb
language sql stable set search_path = ''
as $$
  select to_jsonb(u) || jsonb_build_object('file', (select to_jsonb(f) from tunebase.files f where f.id = u.file_id))
  from tunebase_internal.uploads u where u.id = p_id
$$;

-- schemas/functions/webhooks/claim_deliveries.sql
-- Leases up to p_limit due deliveries, the oldest of each receiver first. A receiver gets at most p_per_target at once,
-- minus those in flight to it (p_busy: {target: count}), and at most 4 while it is failing, so that a slow receiver cannot
-- use every slot.
-- The attempt is counted here, so that a delivery that crashes its scheduler is not retried forever.
create function tunebase_internal.claim_deliveries(
  p_limit integer, p_per_target integer, p_busy jsonb, p_lease_seconds integer
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_claimed jsonb;
begin
  update tunebase.webhook_deliveries
  set status = 'dead', next_at = null, leased_until = null,
    reason = 'The result of its last attempt was never recorded.'
  where id in (
    select id from tunebase.webhook_deliveries
    where status = 'pending' and tries >= 10 and next_at <= now()
    limit p_limit for update skip locked
  );

  -- The receivers with pending deliveries, by a loose index scan.
  with recursive targets as (
    (select target_id from tunebase.webhook_deliveries where status = 'pending' order by target_id limit 1)
    union all
    select (
      select d.target_id from tunebase.webhook_deliveries d
      where d.status = 'pending' and d.target_id > t.target_id
      order by d.target_id limit 1
    )
    from targets t where t.target_id is not null
  ), room as (
    select t.target_id, greatest(
      0, (case when f.target_id is null then p_per_target else least(4, p_per_target) end)
        - coalesce((p_busy ->> t.target_id::text)::integer, 0)
    ) as places
    from targets t left join tunebase_internal.failing_subscribers f on f.target_id = t.target_id
    where t.target_id is not null
  ), due as (
    select d.id, d.next_at, row_number() over (partition by r.target_id order by d.next_at) as rank
    from room r cross join lateral (
      select id, next_at from tunebase.webhook_deliveries
      where status = 'pending' and target_id = r.target_id and next_at <= now()
      order by next_at limit r.places
      for update skip locked
    ) d
  ), claimed as (
    update tunebase.webhook_deliveries d
    set lease = lease + 1, tries = tries + 1,
      leased_until = now() + make_interval(secs => p_lease_seconds),
      next_at = now() + make_interval(secs => p_lease_seconds)
    from (select id from due order by rank, next_at limit p_limit) x
    where d.id = x.id
    returning d.*
  )
  select jsonb_agg(jsonb_build_object(
    'id', c.id, 'lease', c.lease, 'event_id', c.event_id, 'event_type', c.event_type, 'target_id', c.target_id,
    'channel', c.channel, 'body', c.body,
    'url', e.url, 'secret_version', e.secret_version,
    'old_secret', coalesce(e.old_secret_until > now(), false),
    'target', n.target, 'encrypted_url', s.encrypted_url
  ))
  into v_claimed
  from claimed c
  left join tunebase.webhook_endpoints e on e.id = c.endpoint_id
  left join tunebase.notification_channels n on n.id = c.channel_id
  left join tunebase_internal.channel_secrets s on s.channel_id = c.channel_id;
  return coalesce(v_claimed, '[]');
end $$;

-- schemas/functions/webhooks/create_webhook_endpoint.sql
-- p_endpoint: {name, url, event_types, progress_seconds}. A repeated request returns the endpoint that it created before.
create function tunebase_internal.create_webhook_endpoint(p_caller jsonb, p_endpoint jsonb) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'webhooks:write');
  v_id uuid := tunebase_internal.find_created_resource(p_caller);
begin
  if exists (select from tunebase.webhook_endpoints where id = v_id and project_id = v_project_id) then
    return tunebase_internal.webhook_endpoint_json(v_project_id, v_id);
  end if;
  -- One at a time per project, to enforce the limit.
  perform pg_advisory_xact_lock(hashtextextended('tunebase endpoints ' || v_project_id, 0));
  if (select count(*) from tunebase.webhook_endpoints where project_id = v_project_id) >= 50 then
    perform tunebase_internal.raise_api_error('quota_exceeded', jsonb_build_object(
      'what', 'webhook endpoints per project', 'limit', 50, 'used', 50, 'fix', 'Delete one and try again.'
    ));
  end if;
  insert into tunebase.webhook_endpoints (project_id, name, url, event_types, progress_seconds)
  values (
    v_project_id, p_endpoint ->> 'name', p_endpoint ->> 'url',
    array(select jsonb_array_elements_text(p_endpoint -> 'event_types')),
    coalesce((p_endpoint ->> 'progress_seconds')::integer, 60)
  )
  returning id into v_id;
  perform tunebase_internal.record_created_resource(p_caller, v_id);
  return tunebase_internal.webhook_endpoint_json(v_project_id, v_id);
end $$;

-- schemas/functions/webhooks/delete_webhook_endpoint.sql
create function tunebase_internal.delete_webhook_endpoint(p_caller jsonb, p_id uuid) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  perform tunebase_internal.lock_webhook_endpoint(p_caller, p_id);
  delete from tunebase.webhook_endpoints where id = p_id;
  delete from tunebase_internal.failing_subscribers where target_id = p_id;
end $$;

-- schemas/functions/webhooks/disable_subscriber.sql
-- Disables an endpoint or channel and notifies the project. Pending deliveries become dead and can be replayed.
create function tunebase_internal.disable_subscriber(p_target_id uuid, p_reason text, p_tell boolean default true) returns void
language plpgsql set search_path = ''
as $$
declare
  v_project_id uuid;
  v_name text;
  v_id text;
begin
  perform tunebase_internal.lock_subscriber(p_target_id);
  update tunebase.webhook_deliveries
  set status = 'dead', next_at = null, leased_until = null, reason = 'Its receiver was disabled: ' || p_reason
  where status = 'pending' and target_id = p_target_id;
  delete from tunebase_internal.failing_subscribers where target_id = p_target_id;

  update tunebase.webhook_endpoints
  set enabled = false, disabled_at = now(), disabled_reason = p_reason, updated_at = now(), version = version + 1
  where id = p_target_id and enabled
  returning project_id, format('Webhook endpoint “%s”', name), 'whe_' || replace(id::text, '-', '')
  into v_project_id, v_name, v_id;
  if v_id is null then
    update tunebase.notification_channels
    set enabled = false, disabled_at = now(), disabled_reason = p_reason, updated_at = now(), version = version + 1
    where id = p_target_id and enabled
    returning project_id, format('Notifications by %s to %s', kind, target), 'nch_' || replace(id::text, '-', '')
    into v_project_id, v_name, v_id;
  end if;
  if v_id is not null and p_tell then
    insert into tunebase_internal.outbox (project_id, type, data)
    values (v_project_id, 'webhook_endpoint.disabled', jsonb_build_object(
      'id', v_id, 'name', v_name, 'reason', p_reason
    ));
  end if;
end $$;

-- schemas/functions/webhooks/get_webhook_delivery.sql
-- A delivery with the request and response of its last 50 attempts.
create function tunebase_internal.get_webhook_delivery(p_caller jsonb, p_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
begin
  return tunebase_internal.webhook_delivery_json(tunebase_internal.authorize(p_caller, 'webhooks:read'), p_id);
end $$;

-- schemas/functions/webhooks/get_webhook_endpoint.sql
create function tunebase_internal.get_webhook_endpoint(p_caller jsonb, p_id uuid, p_scope text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
begin
  return tunebase_internal.webhook_endpoint_json(tunebase_internal.authorize(p_caller, p_scope), p_id);
end $$;

-- schemas/functions/webhooks/list_webhook_deliveries.sql
-- p_filter: any of {target_id (an endpoint or channel), status, event_type, job_id}.
create function tunebase_internal.list_webhook_deliveries(p_caller jsonb, p_after uuid, p_limit integer, p_filter jsonb)
returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'webhooks:read');
  v_rows jsonb;
begin
  if p_after is not null
    and not exists (select from tunebase.webhook_deliveries where id = p_after and project_id = v_project_id) then
    perform tunebase_internal.raise_api_error('cursor_not_found');
  end if;
  select jsonb_agg(to_jsonb(d) order by d.id desc) into v_rows from (
    select * from tunebase.webhook_deliveries
    where project_id = v_project_id and (p_after is null or id < p_after)
      and (p_filter -> 'target_id' is null or target_id = (p_filter ->> 'target_id')::uuid)
      and (p_filter -> 'status' is null or status = p_filter ->> 'status')
      and (p_filter -> 'event_type' is null or event_type = p_filter ->> 'event_type')
      and (p_filter -> 'job_id' is null or job_id = (p_filter ->> 'job_id')::uuid)
    order by id desc limit p_limit + 1
  ) d;
  return tunebase_internal.paginate(v_rows, p_limit);
end $$;

-- schemas/functions/webhooks/list_webhook_endpoints.sql
create function tunebase_internal.list_webhook_endpoints(p_caller jsonb, p_after uuid, p_limit integer) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'webhooks:read');
  v_rows jsonb;
begin
  if p_after is not null
    and not exists (select from tunebase.webhook_endpoints where id = p_after and project_id = v_project_id) then
    perform tunebase_internal.raise_api_error('cursor_not_found');
  end if;
  select jsonb_agg(to_jsonb(e) order by e.id desc) into v_rows from (
    select * from tunebase.webhook_endpoints
    where project_id = v_project_id and (p_after is null or id < p_after)
    order by id desc limit p_limit + 1
  ) e;
  return tunebase_internal.paginate(v_rows, p_limit);
end $$;

-- schemas/functions/webhooks/lock_subscriber.sql
-- Serializes changes to many deliveries of one receiver: two transactions that lock the same rows in different orders would
-- deadlock. Lock several receivers in the order of their ids.
create function tunebase_internal.lock_subscriber(p_target_id uuid) returns void
language sql set search_path = ''
as $$ select pg_advisory_xact_lock(hashtextextended('tunebase target ' || p_target_id, 0)) $$;

-- schemas/functions/webhooks/lock_webhook_endpoint.sql
-- Locks an endpoint that the caller wants to change, its deliveries first (lock_subscriber). Raises
-- webhook_endpoint_not_found or precondition_failed.
create function tunebase_internal.lock_webhook_endpoint(p_caller jsonb, p_id uuid) returns tunebase.webhook_endpoints
language plpgsql set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'webhooks:write');
  v_endpoint tunebase.webhook_endpoints;
begin
  perform tunebase_internal.lock_subscriber(p_id);
  select * into v_endpoint from tunebase.webhook_endpoints where id = p_id and project_id = v_project_id for no key update;
  if not found then
    perform tunebase_internal.raise_api_error('webhook_endpoint_not_found');
  end if;
  perform tunebase_internal.require_version(p_caller, v_endpoint.version);
  return v_endpoint;
end $$;

-- schemas/functions/webhooks/record_deliveries.sql
-- Records the results of attempts. p_results: [{id, lease, ok, status, body, error, retry_after (seconds), url, headers,
-- duration_ms}]. Every attempt is logged; the delivery changes only if the attempt succeeded or still holds the lease.
create function tunebase_internal.record_deliveries(p_results jsonb) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  r record;
  v_delivery tunebase.webhook_deliveries;
  v_delay interval;
  v_last text;
  v_gone uuid[] := '{}';
  v_since timestamptz;
  v_failed uuid[] := '{}';
  v_target uuid;
begin
  perform tunebase_internal.lock_subscriber(t.target_id) from (
    select distinct d.target_id from tunebase.webhook_deliveries d
    where d.id in (select (x ->> 'id')::uuid from jsonb_array_elements(p_results) x)
    order by d.target_id
  ) t;
  for r in
    select x.* from jsonb_to_recordset(p_results) as x (
      id uuid, lease integer, ok boolean, status integer, body text, error text, retry_after double precision,
      url text, headers jsonb, duration_ms integer
    ) order by x.id
  loop
    select * into v_delivery from tunebase.webhook_deliveries where id = r.id for update;
    continue when not found; -- its endpoint has been deleted
    insert into tunebase.webhook_attempts (
      delivery_id, project_id, url, request_headers, response_status, response_body, error, duration_ms
    ) values (
      v_delivery.id, v_delivery.project_id, r.url, r.headers, r.status, r.body, r.error, r.duration_ms
    );
    if v_delivery.status = 'delivered' or (not r.ok and v_delivery.lease <> r.lease) then
      continue;
    end if;
    v_last := coalesce('it responded with ' || r.status, r.error);
    v_delay := tunebase_internal.webhook_retry_delay(v_delivery.tries);
    update tunebase.webhook_deliveries
    set response_status = r.status, error = r.error, duration_ms = r.duration_ms, last_tried_at = now(),
      leased_until = null,
      status = case when r.ok then 'delivered' when v_delay is null or status = 'dead' then 'dead' else 'pending' end,
      delivered_at = case when r.ok then now() end,
      reason = case
        when r.ok then null
        when status = 'dead' then reason
        when v_delay is null then format('All %s attempts failed. The last one: %s.', tries, v_last)
      end,
      next_at = case
        when not r.ok and status = 'pending' and v_delay is not null
        then now() + greatest(v_delay, make_interval(secs => least(coalesce(r.retry_after, 0), 86400)))
      end
    where id = r.id;

    if r.ok then
      delete from tunebase_internal.failing_subscribers where target_id = v_delivery.target_id;
    elsif v_delivery.status = 'pending' then
      v_failed := v_failed || v_delivery.target_id;
      if r.status = 410 then
        v_gone := v_gone || v_delivery.target_id;
      end if;
    end if;
  end loop;

  foreach v_target in array array(select distinct unnest(v_failed) order by 1) loop
    if v_target = any (v_gone) then
      perform tunebase_internal.disable_subscriber(v_target, 'it responded with 410 Gone');
      continue;
    end if;
    insert into tunebase_internal.failing_subscribers as f (target_id, failing_since, last_failed_at)
    values (v_target, now(), now())
    on conflict (target_id) do update
    -- After two days without an attempt, longer than the longest delay of the schedule, a failure starts a new series.
    set failing_since = case when f.last_failed_at < now() - interval '2 days' then now() else f.failing_since end,
      last_failed_at = now()
    returning failing_since into v_since;
    if v_since <= now() - interval '5 days' then
      perform tunebase_internal.disable_subscriber(v_target, 'it has failed for 5 days');
    end if;
  end loop;
end $$;

-- schemas/functions/webhooks/replay_webhook_delivery.sql
-- Sends a delivery again, whatever its status, with the same webhook-id and a fresh retry schedule. A delivery that is in
-- flight stays as it is.
create function tunebase_internal.replay_webhook_delivery(p_caller jsonb, p_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'webhooks:write');
  v_delivery jsonb := tunebase_internal.webhook_delivery_json(v_project_id, p_id);
begin
  perform tunebase_internal.require_enabled((v_delivery ->> 'target_id')::uuid);
  if v_delivery ->> 'channel' = 'email' then
    perform tunebase_internal.require_email(v_project_id, (
      select target from tunebase.notification_channels where id = (v_delivery ->> 'channel_id')::uuid
    ), false);
  end if;
  update tunebase.webhook_deliveries
  set status = 'pending', tries = 0, next_at = now(), reason = null, delivered_at = null, leased_until = null
  where id = p_id and not coalesce(leased_until > now(), false);
  return tunebase_internal.webhook_delivery_json(v_project_id, p_id);
end $$;

-- schemas/functions/webhooks/replay_webhook_endpoint.sql
-- Sends every dead delivery of an endpoint since p_since again. Returns how many.
create function tunebase_internal.replay_webhook_endpoint(p_caller jsonb, p_id uuid, p_since timestamptz) returns integer
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'webhooks:write');
  v_count integer;
begin
  perform tunebase_internal.webhook_endpoint_json(v_project_id, p_id);
  perform tunebase_internal.require_enabled(p_id);
  perform tunebase_internal.lock_subscriber(p_id);
  update tunebase.webhook_deliveries
  set status = 'pending', tries = 0, next_at = now(), reason = null
  where endpoint_id = p_id and status = 'dead' and event_created_at >= p_since;
  get diagnostics v_count = row_count;
  return v_count;
end $$;

-- schemas/functions/webhooks/require_enabled.sql
create function tunebase_internal.require_enabled(p_target_id uuid) returns void
language plpgsql stable set search_path = ''
as $$
begin
  if exists (select from tunebase.webhook_endpoints where id = p_target_id and not enabled)
    or exists (select from tunebase.notification_channels where id = p_target_id and not enabled) then
    perform tunebase_internal.raise_api_error('receiver_disabled');
  end if;
end $$;

-- schemas/functions/webhooks/rotate_webhook_secret.sql
-- Rotates the signing secret to the next version; with p_keep_old, the old one also signs for 24 hours. A repeated request
-- changes nothing, because another rotation would end the secret that the receiver still uses.
create function tunebase_internal.rotate_webhook_secret(p_caller jsonb, p_id uuid, p_keep_old boolean) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase_internal.authorize(p_caller, 'webhooks:write');
begin
  if tunebase_internal.find_created_resource(p_caller) = p_id then
    return tunebase_internal.webhook_endpoint_json(v_project_id, p_id);
  end if;
  perform tunebase_internal.lock_webhook_endpoint(p_caller, p_id);
  update tunebase.webhook_endpoints
  set secret_version = secret_version + 1, rotated_at = now(), updated_at = now(), version = version + 1,
    old_secret_until = case when p_keep_old then now() + interval '24 hours' end
  where id = p_id;
  perform tunebase_internal.record_created_resource(p_caller, p_id);
  return tunebase_internal.webhook_endpoint_json(v_project_id, p_id);
end $$;

-- schemas/functions/webhooks/update_webhook_endpoint.sql
-- p_changes: any of {name, url, event_types, progress_seconds, enabled}; absent fields keep their value. An update that
-- changes nothing leaves updated_at alone. Enabling clears the failure record.
create function tunebase_internal.update_webhook_endpoint(p_caller jsonb, p_id uuid, p_changes jsonb) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_old tunebase.webhook_endpoints := tunebase_internal.lock_webhook_endpoint(p_caller, p_id);
  v_new tunebase.webhook_endpoints := v_old;
  v_enabled boolean := (p_changes ->> 'enabled')::boolean;
begin
  v_new.name := coalesce(p_changes ->> 'name', v_old.name);
  v_new.url := coalesce(p_changes ->> 'url', v_old.url);
  v_new.progress_seconds := coalesce((p_changes ->> 'progress_seconds')::integer, v_old.progress_seconds);
  if p_changes ? 'event_types' then
    v_new.event_types := array(select jsonb_array_elements_text(p_changes -> 'event_types'));
  end if;
  if v_enabled then
    v_new.enabled := true;
    v_new.disabled_at := null;
    v_new.disabled_reason := null;
  end if;
  if v_new is distinct from v_old then
    update tunebase.webhook_endpoints
    set name = v_new.name, url = v_new.url, event_types = v_new.event_types, progress_seconds = v_new.progress_seconds,
      enabled = v_new.enabled, disabled_at = v_new.disabled_at, disabled_reason = v_new.disabled_reason,
      updated_at = now(), version = version + 1
    where id = p_id;
  end if;
  if not v_enabled then
    perform tunebase_internal.disable_subscriber(p_id, 'a member disabled it', false);
  end if;
  return tunebase_internal.webhook_endpoint_json(v_old.project_id, p_id);
end $$;

-- schemas/functions/webhooks/webhook_delivery_json.sql
create function tunebase_internal.webhook_delivery_json(p_project_id uuid, p_id uuid) returns jsonb
language plpgsql stable set search_path = ''
as $$
declare
  v_delivery tunebase.webhook_deliveries;
begin
  select * into v_delivery from tunebase.webhook_deliveries where id = p_id and project_id = p_project_id;
  if not found then
    perform tunebase_internal.raise_api_error('webhook_delivery_not_found');
  end if;
  return to_jsonb(v_delivery) || jsonb_build_object('attempts', coalesce((
    select jsonb_agg(to_jsonb(a) order by a.id)
    -- Bounded, because a delivery can be replayed without limit.
    from (select * from tunebase.webhook_attempts where delivery_id = p_id order by id desc limit 50) a
  ), '[]'));
end $$;

-- schemas/functions/webhooks/webhook_endpoint_json.sql
-- An endpoint as jsonb. Raises webhook_endpoint_not_found.
create function tunebase_internal.webhook_endpoint_json(p_project_id uuid, p_id uuid) returns jsonb
language plpgsql stable set search_path = ''
as $$
declare
  v_endpoint tunebase.webhook_endpoints;
begin
  select * into v_endpoint from tunebase.webhook_endpoints where id = p_id and project_id = p_project_id;
  if not found then
    perform tunebase_internal.raise_api_error('webhook_endpoint_not_found');
  end if;
  return to_jsonb(v_endpoint);
end $$;

-- schemas/functions/webhooks/webhook_retry_delay.sql
-- The delay before the next attempt, after p_tries attempts; null after the last. The Standard Webhooks schedule (at once, 5 s,
-- 5 min, 30 min, 2 h, 5 h, 10 h, 14 h, 20 h, 24 h) with up to 20 % jitter, so that deliveries that failed together are not
-- all retried together.
create function tunebase_internal.webhook_retry_delay(p_tries integer) returns interval
language sql volatile set search_path = ''
as $$
  select (array[
    interval '5 seconds', interval '5 minutes', interval '30 minutes', interval '2 hours', interval '5 hours',
    interval '10 hours', interval '14 hours', interval '20 hours', interval '24 hours'
  ])[p_tries] * (1 + random() / 5)
$$;

-- schemas/functions/jobs/transitions/attempt_cost.sql
-- An attempt's cost so far: from its first claim until now or its end. Time in the queue is free.
create function tunebase_internal.attempt_cost(p_attempt tunebase.attempts) returns numeric
language sql stable
return greatest(p_attempt.cost_usd, round((
  extract(epoch from coalesce(p_attempt.ended_at, now()) - p_attempt.started_at) / 3600
  * (p_attempt.gpu_config ->> 'cost_per_gpu_hour')::numeric * (p_attempt.gpu_config ->> 'num_gpus')::numeric
)::numeric, 6));

-- schemas/functions/jobs/transitions/complete_attempt.sql
-- Ends an attempt as succeeded, and its job with it: the only way to `succeeded`. Returns what is missing, or null. Call it
-- with the attempt locked. p_hub_url: where the worker pushed the adapter to.
create function tunebase_internal.complete_attempt(p_attempt_id uuid, p_manifest jsonb, p_hub_url text default null)
returns text
language plpgsql set search_path = ''
as $$
declare
  v_unverified text := tunebase_internal.unverified_files(p_attempt_id, p_manifest -> 'files');
  v_attempt tunebase.attempts;
  v_job tunebase.jobs;
  v_name text;
begin
  if v_unverified is not null then
    return 'not verified in Storage: ' || v_unverified;
  elsif jsonb_array_length(p_manifest -> 'files') = 0 then
    return 'the manifest names no file';
  end if;

  update tunebase.attempts set state = 'ended', outcome = 'succeeded', ended_at = now(), reconcile_at = null
  where id = p_attempt_id
  returning * into strict v_attempt;
  perform tunebase_internal.update_attempt_cost(p_attempt_id);
  select * into strict v_job from tunebase.jobs where id = v_attempt.job_id;
  -- Cancelled while the last file was being uploaded: the files stay in Storage, and the job stays cancelled.
  if tunebase_internal.is_terminal(v_job.status) then
    return null;
  end if;

  v_job.trained_tokens := greatest(v_job.trained_tokens, (p_manifest ->> 'trained_tokens')::bigint);
  v_name := tunebase_internal.create_adapter(v_job, p_attempt_id, p_manifest);
  update tunebase.jobs
  set status = 'succeeded', stage = 'completed', progress = 100, finished_at = now(), estimated_finish = null,
    due_at = null, status_reason = null, pause_requested = false, fine_tuned_model = v_name,
    trained_tokens = v_job.trained_tokens,
    evaluation = nullif(p_manifest -> 'evaluation', 'null'),
    result_file = tunebase_internal.create_result_file(v_job),
    estimate = tunebase_internal.score_estimate(v_job),
    hub_url = p_hub_url
  where id = v_job.id;
  perform tunebase_internal.record_speed(v_job, v_attempt.gpu_config);
  perform tunebase_internal.add_event(v_job.id, 'info', format('New fine-tuned model created: %s', v_name));
  perform tunebase_internal.add_event(v_job.id, 'info', 'The job has successfully completed.');
  return null;
end $$;

-- schemas/functions/jobs/transitions/create_adapter.sql
-- Records the trained adapter of a job. Returns the fine-tuned model's name.
create function tunebase_internal.create_adapter(p_job tunebase.jobs, p_attempt_id uuid, p_manifest jsonb) returns text
language plpgsql set search_path = ''
as $$
declare
  v_name text;
begin
  insert into tunebase.adapters (job_id, project_id, attempt_id, name, base_model, manifest, prefix, bytes)
  select p_job.id, p_job.project_id, p_attempt_id,
    concat_ws(':', 'ft', p_job.base_model, p.slug, coalesce(p_job.suffix, ''), right(replace(p_job.id::text, '-', ''), 8)),
    p_job.base_model, p_manifest, tunebase_internal.artifact_prefix(p_attempt_id),
    (select sum((f ->> 'bytes')::bigint) from jsonb_array_elements(p_manifest -> 'files') f)
  from tunebase.projects p where p.id = p_job.project_id
  returning name into strict v_name;
  return v_name;
end $$;

-- schemas/functions/jobs/transitions/end_attempt.sql
-- Ends an attempt and applies retry_policy to its job. Call it with both locked, the job first.
create function tunebase_internal.end_attempt(
  p_attempt_id uuid, p_outcome text,
  p_fault text default null, p_code text default null, p_message text default null, p_hint text default null
) returns void
language plpgsql set search_path = ''
as $$
declare
  v_attempt tunebase.attempts;
  v_job tunebase.jobs;
  v_next record;
begin
  update tunebase.attempts
  set state = 'ended', outcome = p_outcome, ended_at = now(), reconcile_at = null,
    error_code = p_code, error_message = p_message
  where id = p_attempt_id and state <> 'ended'
  returning * into v_attempt;
  if not found then
    return;
  end if;
  perform tunebase_internal.update_attempt_cost(p_attempt_id);
  select * into strict v_job from tunebase.jobs where id = v_attempt.job_id;
  v_next := tunebase_internal.retry_policy(v_job, v_attempt, p_fault);

  case v_next.action
    when 'none' then
      null;
    when 'requeue' then
      perform tunebase_internal.enqueue_job(v_job.id);
      perform tunebase_internal.wake_scheduler();
    when 'restore' then
      -- `queued_at` is kept: it measures how long the job has waited for a GPU.
      update tunebase.jobs set due_at = now(), status_reason = null where id = v_job.id;
    when 'retry' then
      perform tunebase_internal.retry_job(v_job, v_attempt, v_next.wait_seconds);
    when 'pause' then
      perform tunebase_internal.set_job_paused(v_job.id);
    when 'cancel' then
      perform tunebase_internal.set_job_cancelled(v_job.id, 'warn', coalesce(p_message, 'The job was cancelled.'));
    when 'fail_spend_cap' then
      perform tunebase_internal.fail_job(
        v_job.id, 'spend_cap', format('%s The job has reached its spend cap and is not retried.', p_message),
        'The newest checkpoint is kept. Create the job again with a higher spend_cap_usd.'
      );
    when 'fail' then
      update tunebase.jobs set failed_attempts = failed_attempts + 1 where id = v_job.id;
      perform tunebase_internal.fail_job(v_job.id, p_code, p_message, p_hint);
  end case;
end $$;

-- schemas/functions/jobs/transitions/enqueue_job.sql
-- Queues a job, or sets the status in which it waits before that (waiting_status). Returns the new status. Call it with the
-- job locked, and wake the scheduler afterwards.
create function tunebase_internal.enqueue_job(p_job_id uuid, p_wait_seconds double precision default 0) returns text
language plpgsql set search_path = ''
as $$
declare
  v_job tunebase.jobs;
  v_status text;
begin
  select * into strict v_job from tunebase.jobs where id = p_job_id;
  v_status := tunebase_internal.waiting_status(
    tunebase_internal.lock_unvalidated_files(v_job.training_file, v_job.validation_file), v_job.auto_start
  );
  update tunebase.jobs
  set status = v_status, stage = null, estimated_finish = null, status_reason = null,
    queued_at = case when v_status = 'queued' then now() end,
    due_at = case
      when v_status <> 'queued' then null
      -- An attempt from before a pause is still being cancelled: its end makes the job due.
      when exists (select from tunebase.attempts where job_id = p_job_id and state <> 'ended') then 'infinity'
      else now() + make_interval(secs => p_wait_seconds)
    end
  where id = p_job_id;
  return v_status;
end $$;

-- schemas/functions/jobs/transitions/fail_job.sql
create function tunebase_internal.fail_job(
  p_job_id uuid, p_code text, p_message text, p_hint text, p_param text default null
) returns void
language plpgsql set search_path = ''
as $$
begin
  update tunebase.jobs
  set status = 'failed', finished_at = now(), due_at = null, estimated_finish = null, status_reason = null,
    pause_requested = false, error_code = p_code, error_message = p_message, error_hint = nullif(p_hint, ''),
    error_param = p_param
  where id = p_job_id and not tunebase_internal.is_terminal(status);
  if found then
    perform tunebase_internal.add_event(p_job_id, 'error', concat_ws(' ', 'The job failed: ' || p_message, nullif(p_hint, '')));
  end if;
end $$;

-- schemas/functions/jobs/transitions/fail_job_with_file.sql
-- Fails a job whose file turned out to be invalid, or to hold rows for another training method. Returns false if the file
-- suits the job. (If a file was validated earlier, the API rejects the job.)
create function tunebase_internal.fail_job_with_file(p_job tunebase.jobs, p_file tunebase.files) returns boolean
language plpgsql set search_path = ''
as $$
declare
  v_param text := case when p_job.training_file = p_file.id then 'training_file' else 'validation_file' end;
  v_label text := replace(v_param, '_', ' ');
begin
  if p_file.status = 'error' then
    perform tunebase_internal.fail_job(
      p_job.id, 'invalid_file', format('The %s is not valid: %s', v_label, p_file.status_details),
      'See GET /files/{id} for the errors in each row. Fix the file, upload it again and create a new job.', v_param
    );
    return true;
  elsif (p_file.report ->> 'format' = 'preference') <> (p_job.method = 'dpo') then
    perform tunebase_internal.fail_job(
      p_job.id, 'invalid_file',
      format('The %s, %s, has %s rows, which method "%s" cannot train on.',
        v_label, p_file.filename, p_file.report ->> 'format', p_job.method),
      'Create the job again with method {"type": "dpo"} for preference rows and without it for others.', v_param
    );
    return true;
  end if;
  return false;
end $$;

-- schemas/functions/jobs/transitions/lock_attempt.sql
-- Locks an attempt's job, then the attempt; null if it does not exist. Not `for update`: a concurrent foreign key check (a
-- notification of the job, say) would block it, and would make a dispatcher skip the job.
create function tunebase_internal.lock_attempt(p_attempt_id uuid) returns tunebase.attempts
language plpgsql set search_path = ''
as $$
declare
  v_attempt tunebase.attempts;
begin
  perform 1 from tunebase.jobs
  where id = (select job_id from tunebase.attempts where id = p_attempt_id)
  for no key update;
  select * into v_attempt from tunebase.attempts where id = p_attempt_id for no key update;
  return v_attempt;
end $$;

-- schemas/functions/jobs/transitions/lock_unvalidated_files.sql
-- Share-locks the job's files whose validation has not finished. Returns true if there are any. With the lock, either this
-- transaction or the end of a validation waits for the other, so that either that end sees the job, or this transaction sees
-- the result. Files are locked before jobs everywhere; call it before you lock the job.
create function tunebase_internal.lock_unvalidated_files(p_training_file uuid, p_validation_file uuid) returns boolean
language plpgsql set search_path = ''
as $$
begin
  perform from tunebase.files where id in (p_training_file, p_validation_file) and status = 'uploaded' order by id for share;
  return found;
end $$;

-- schemas/functions/jobs/transitions/release_jobs_waiting_for_file.sql
-- A file's validation has finished: its waiting jobs are queued, or fail with it. Paused ones fail too, or they could be
-- resumed. Call it with the file locked.
create function tunebase_internal.release_jobs_waiting_for_file(p_file_id uuid) returns void
language plpgsql set search_path = ''
as $$
declare
  v_file tunebase.files;
  v_job tunebase.jobs;
  v_status text;
  v_wake boolean := false;
begin
  select * into strict v_file from tunebase.files where id = p_file_id;
  for v_job in
    select * from tunebase.jobs
    where (training_file = p_file_id or validation_file = p_file_id) and status in ('validating_files', 'paused')
    order by id
    for no key update
  loop
    continue when tunebase_internal.fail_job_with_file(v_job, v_file);
    -- Not locked, unlike in enqueue_job: the validation of the other file may be waiting for this job's row, and releases
    -- the job when it gets it.
    if v_job.status = 'validating_files' and not exists (
      select from tunebase.files where id in (v_job.training_file, v_job.validation_file) and status <> 'processed'
    ) then
      v_status := tunebase_internal.enqueue_job(v_job.id);
      perform tunebase_internal.add_event(v_job.id, 'info', tunebase_internal.waiting_message(v_status));
      perform tunebase_internal.warn_dataset_overlap(v_job.id);
      v_wake := v_wake or v_status = 'queued';
    end if;
  end loop;
  if v_wake then
    perform tunebase_internal.wake_scheduler();
  end if;
end $$;

-- schemas/functions/jobs/transitions/request_attempt_cancellation.sql
-- Makes the scheduler cancel a job's live attempt at RunPod, repeatedly until it has ended.
create function tunebase_internal.request_attempt_cancellation(p_job_id uuid) returns void
language sql set search_path = ''
as $$
  update tunebase.attempts
  set cancel_requested = true, cancel_requested_at = coalesce(cancel_requested_at, now()), reconcile_at = now()
  where job_id = p_job_id and state <> 'ended'
$$;

-- schemas/functions/jobs/transitions/retry_job.sql
-- Counts a failed attempt and queues the job again after a backoff. The next attempt resumes from the newest checkpoint.
create function tunebase_internal.retry_job(
  p_job tunebase.jobs, p_attempt tunebase.attempts, p_wait_seconds double precision
) returns void
language plpgsql set search_path = ''
as $$
declare
  v_step integer := (select max(step) from tunebase.checkpoints where job_id = p_job.id);
begin
  update tunebase.jobs set failed_attempts = failed_attempts + 1 where id = p_job.id;
  perform tunebase_internal.enqueue_job(p_job.id, p_wait_seconds);
  perform tunebase_internal.add_event(p_job.id, 'warn', format(
    'Attempt %s failed: %s Retrying in %s seconds %s.', p_attempt.number, p_attempt.error_message, p_wait_seconds,
    coalesce('from checkpoint step ' || v_step, 'from scratch')
  ));
end $$;

-- schemas/functions/jobs/transitions/retry_policy.sql
-- The whole retry policy: what to do with a job after an attempt has ended. `p_fault` is the class of the failure. Only
-- infrastructure failures are retried, with backoff, until max_attempts in a row have produced no new checkpoint. See
-- backoff_seconds for the backoff, jobs.max_attempts for the limit, and contracts/trainer_errors.ts for the class of each
-- trainer error.
--
-- action: none (the job is terminal or paused), requeue, restore (the job never left the queue), retry, pause, cancel,
-- fail, or fail_spend_cap.
create function tunebase_internal.retry_policy(
  p_job tunebase.jobs, p_attempt tunebase.attempts, p_fault text, out action text, out wait_seconds double precision
)
language plpgsql immutable set search_path = ''
as $$
declare
  v_infrastructure constant boolean := coalesce(p_fault = 'infrastructure', false);
begin
  action := case
    when tunebase_internal.is_terminal(p_job.status) or p_job.status = 'paused' then 'none'
    -- Paused before a worker claimed it, and resumed before it ended: the next attempt can start.
    when p_attempt.cancel_requested then 'requeue'
    when p_attempt.outcome = 'not_started' then 'restore'
    when p_attempt.outcome = 'cancelled' then 'cancel'
    when p_job.pause_requested and (p_attempt.outcome = 'paused' or v_infrastructure) then 'pause'
    -- The pause request was cancelled before the worker stopped.
    when p_attempt.outcome = 'paused' then 'requeue'
    when not v_infrastructure then 'fail'
    when p_job.cost_usd >= p_job.spend_cap_usd then 'fail_spend_cap'
    when p_job.failed_attempts + 1 < p_job.max_attempts then 'retry'
    else 'fail'
  end;
  wait_seconds := case when action = 'retry' then tunebase_internal.backoff_seconds(p_job.failed_attempts) else 0 end;
end $$;

-- schemas/functions/jobs/transitions/set_job_cancelled.sql
create function tunebase_internal.set_job_cancelled(p_job_id uuid, p_level text, p_message text) returns void
language plpgsql set search_path = ''
as $$
begin
  update tunebase.jobs
  set status = 'cancelled', finished_at = now(), due_at = null, estimated_finish = null, status_reason = null,
    pause_requested = false
  where id = p_job_id;
  perform tunebase_internal.add_event(p_job_id, p_level, p_message);
end $$;

-- schemas/functions/jobs/transitions/set_job_paused.sql
-- Pauses a job. When resumed, it continues from the newest checkpoint.
create function tunebase_internal.set_job_paused(p_job_id uuid) returns void
language plpgsql set search_path = ''
as $$
declare
  v_step integer := (select max(step) from tunebase.checkpoints where job_id = p_job_id);
begin
  update tunebase.jobs
  set status = 'paused', stage = null, due_at = null, pause_requested = false, estimated_finish = null, status_reason = null
  where id = p_job_id;
  perform tunebase_internal.add_event(p_job_id, 'info', case
    when v_step is null then 'The job is paused. Resume it to start training.'
    else format('The job is paused. When resumed, it continues from checkpoint step %s.', v_step)
  end);
end $$;

-- schemas/functions/jobs/transitions/unpause_job.sql
-- Queues a paused job again and resets its failed attempts. From now on it starts automatically.
create function tunebase_internal.unpause_job(p_job_id uuid, p_message text) returns void
language plpgsql set search_path = ''
as $$
begin
  update tunebase.jobs set auto_start = true, failed_attempts = 0 where id = p_job_id;
  if tunebase_internal.enqueue_job(p_job_id) = 'queued' then
    perform tunebase_internal.add_event(p_job_id, 'info', p_message);
    perform tunebase_internal.wake_scheduler();
  else
    perform tunebase_internal.add_event(p_job_id, 'info', tunebase_internal.waiting_message('validating_files'));
  end if;
end $$;

-- schemas/functions/jobs/transitions/unverified_files.sql
-- The paths of `p_files` ([{path, bytes, sha256}]) that were not read back from Storage with that size and SHA-256, as one
-- text; null when all were.
create function tunebase_internal.unverified_files(p_attempt_id uuid, p_files jsonb) returns text
language plpgsql stable set search_path = ''
as $$
begin
  return (
    select string_agg(f ->> 'path', ', ')
    from jsonb_array_elements(p_files) f
    where not exists (
      select from tunebase_internal.verified_files v
      where v.attempt_id = p_attempt_id and v.path = f ->> 'path'
        and v.bytes = (f ->> 'bytes')::bigint and v.sha256 = f ->> 'sha256'
    )
  );
end $$;

-- schemas/functions/jobs/transitions/update_attempt_cost.sql
-- Updates the cost of an attempt and of its job, the sum over its attempts. plpgsql, because it caches its plans: a language sql
-- function is planned at every call, which took 0.4 ms of a report's 1.5.
create function tunebase_internal.update_attempt_cost(p_attempt_id uuid) returns void
language plpgsql set search_path = ''
as $$
begin
  update tunebase.attempts a set cost_usd = tunebase_internal.attempt_cost(a)
  where id = p_attempt_id and started_at is not null;

  update tunebase.jobs j
  set cost_usd = (select sum(a.cost_usd) from tunebase.attempts a where a.job_id = j.id)
  where j.id = (select job_id from tunebase.attempts where id = p_attempt_id);
end $$;

-- schemas/functions/jobs/transitions/waiting_message.sql
create function tunebase_internal.waiting_message(p_status text) returns text
language sql immutable
return case p_status
  when 'queued' then 'Files are valid; the job is queued for a GPU.'
  when 'paused' then 'Files are valid; the job is waiting to be started.'
  else 'The job is waiting until its files are validated.'
end;

-- schemas/functions/jobs/transitions/waiting_status.sql
-- A waiting job's status: `validating_files` until its files are validated, then `queued`, or `paused` if it is started
-- manually.
create function tunebase_internal.waiting_status(p_unvalidated boolean, p_auto_start boolean) returns text
language sql immutable
return case when p_unvalidated then 'validating_files' when p_auto_start then 'queued' else 'paused' end;

-- schemas/triggers/checkpoints.sql
create trigger tunebase_outbox_checkpoint after insert on tunebase.checkpoints
for each row execute function tunebase_internal.enqueue_checkpoint_event();

-- schemas/triggers/files.sql
create trigger tunebase_cancel_validation after update of deleted_at on tunebase.files
for each row when (old.deleted_at is null and new.deleted_at is not null)
execute function tunebase_internal.cancel_file_validation();

create trigger tunebase_delete_result_content after update of deleted_at on tunebase.files
for each row when (new.deleted_at is not null and new.purpose = 'fine-tune-results')
execute function tunebase_internal.delete_result_content();

-- Not for result files: a job must not fail at the end because its project has reached its quota.
create trigger tunebase_enforce_quota before insert on tunebase.files
for each row when (new.purpose = 'fine-tune') execute function tunebase_internal.enforce_file_quota();

-- schemas/triggers/jobs.sql
-- In firing order. None of them decides a status: the functions in jobs/ and jobs/transitions/ do.

create trigger tunebase_enforce_job_quota before insert on tunebase.jobs
for each row execute function tunebase_internal.enforce_job_quota();

create trigger tunebase_index_metadata after insert or update of metadata on tunebase.jobs
for each row execute function tunebase_internal.index_job_metadata();

create trigger tunebase_outbox_created after insert on tunebase.jobs
for each row execute function tunebase_internal.enqueue_job_events();

-- Skipped for reports without new progress, to keep them cheap.
create trigger tunebase_outbox_changed after update of status, budget_warned_at, progress on tunebase.jobs
for each row when (
  new.status <> old.status or new.budget_warned_at is distinct from old.budget_warned_at or new.progress > old.progress
)
execute function tunebase_internal.enqueue_job_events();

create trigger tunebase_broadcast after update of status, last_event on tunebase.jobs
for each row when (new.status <> old.status or new.last_event > old.last_event)
execute function tunebase_internal.broadcast_job_change();

-- schemas/triggers/uploads.sql
-- Rejects an upload that would exceed the quota before its bytes arrive; its file counts once it exists.
create trigger tunebase_enforce_quota before insert on tunebase_internal.uploads
for each row execute function tunebase_internal.enforce_upload_quota();

-- schemas/90_grants.sql
-- All privileges. Must run last: what is not granted here is revoked.

-- Postgres lets everyone execute a new function, and the host app's default privileges can grant anything to any role. They
-- cannot be disabled for a schema (`alter default privileges in schema` only adds), so revoke what they granted.
do $$
declare
  v_statement text;
begin
  for v_statement in
    select format('revoke all on %s from %s', o.what, case a.grantee when 0 then 'public' else a.grantee::regrole::text end)
    from (
      select format('schema %I', nspname) as what, nspacl as acl, nspowner as owner
      from pg_catalog.pg_namespace where nspname in ('tunebase', 'tunebase_internal')
      union all
      select format('%s %s', case relkind when 'S' then 'sequence' else 'table' end, c.oid::regclass), relacl, relowner
      from pg_catalog.pg_class c
      where relnamespace in ('tunebase'::regnamespace, 'tunebase_internal'::regnamespace) and relkind in ('r', 'p', 'v', 'm', 'S')
      union all
      select format('function %s', p.oid::regprocedure), coalesce(proacl, acldefault('f', proowner)), proowner
      from pg_catalog.pg_proc p where pronamespace in ('tunebase'::regnamespace, 'tunebase_internal'::regnamespace)
    ) o
    cross join lateral (select distinct grantee from aclexplode(o.acl)) a
    where a.grantee <> o.owner
  loop
    execute v_statement;
  end loop;
end $$;

grant usage on schema tunebase to authenticated;
grant usage on schema tunebase_internal to tunebase_api, tunebase_callback, tunebase_scheduler;
-- Row-level security depends on it.
grant execute on function tunebase_internal.member_project_ids() to authenticated;
grant select on all tables in schema tunebase to authenticated;

-- The functions that each edge function may execute; none of their roles may touch a table.
grant execute on function
  tunebase_internal.member_project_ids
to authenticated;

grant execute on function
  tunebase_internal.answer_invitation,
  tunebase_internal.archive_project,
  tunebase_internal.authorize,
  tunebase_internal.begin_upload_part,
  tunebase_internal.cancel_evaluation,
  tunebase_internal.cancel_job,
  tunebase_internal.cancel_upload,
  tunebase_internal.complete_direct_upload,
  tunebase_internal.complete_idempotency_key,
  tunebase_internal.complete_upload,
  tunebase_internal.complete_upload_part,
  tunebase_internal.create_api_key,
  tunebase_internal.create_evaluation,
  tunebase_internal.create_file,
  tunebase_internal.create_job,
  tunebase_internal.create_notification_channel,
  tunebase_internal.create_project,
  tunebase_internal.create_upload,
  tunebase_internal.create_unvalidated_file,
  tunebase_internal.create_webhook_endpoint,
  tunebase_internal.delete_evaluation,
  tunebase_internal.delete_completion,
  tunebase_internal.delete_file,
  tunebase_internal.delete_invitation,
  tunebase_internal.delete_model,
  tunebase_internal.delete_notification_channel,
  tunebase_internal.delete_webhook_endpoint,
  tunebase_internal.export_completions,
  tunebase_internal.find_model,
  tunebase_internal.find_servable_model,
  tunebase_internal.finish_inference,
  tunebase_internal.get_adapter,
  tunebase_internal.get_api_key,
  tunebase_internal.get_caller,
  tunebase_internal.get_checkpoint,
  tunebase_internal.get_completion,
  tunebase_internal.get_direct_upload,
  tunebase_internal.get_estimate_inputs,
  tunebase_internal.get_evaluation,
  tunebase_internal.get_evaluation_file,
  tunebase_internal.get_file,
  tunebase_internal.get_file_overlap,
  tunebase_internal.get_inference_usage,
  tunebase_internal.get_installation_metrics,
  tunebase_internal.get_job,
  tunebase_internal.get_job_metrics,
  tunebase_internal.get_project,
  tunebase_internal.get_result_content,
  tunebase_internal.get_status,
  tunebase_internal.get_usage_by_day,
  tunebase_internal.get_webhook_delivery,
  tunebase_internal.get_webhook_endpoint,
  tunebase_internal.invite_member,
  tunebase_internal.list_api_keys,
  tunebase_internal.list_checkpoints,
  tunebase_internal.list_evaluation_rows,
  tunebase_internal.list_evaluations,
  tunebase_internal.list_completions,
  tunebase_internal.list_events,
  tunebase_internal.list_files,
  tunebase_internal.list_invitations,
  tunebase_internal.list_jobs,
  tunebase_internal.list_members,
  tunebase_internal.list_models,
  tunebase_internal.list_new_events,
  tunebase_internal.list_notification_channels,
  tunebase_internal.list_notifications,
  tunebase_internal.list_projects,
  tunebase_internal.list_user_invitations,
  tunebase_internal.list_webhook_deliveries,
  tunebase_internal.list_webhook_endpoints,
  tunebase_internal.mark_notifications_read,
  tunebase_internal.open_event_stream,
  tunebase_internal.pause_job,
  tunebase_internal.remove_member,
  tunebase_internal.replay_webhook_delivery,
  tunebase_internal.replay_webhook_endpoint,
  tunebase_internal.reserve_file_object,
  tunebase_internal.reserve_idempotency_key,
  tunebase_internal.resume_job,
  tunebase_internal.revoke_api_key,
  tunebase_internal.rotate_webhook_secret,
  tunebase_internal.share_file,
  tunebase_internal.start_inference,
  tunebase_internal.start_job,
  tunebase_internal.store_token_sample,
  tunebase_internal.take_rate_limit_tokens,
  tunebase_internal.test_notification_channel,
  tunebase_internal.update_api_key,
  tunebase_internal.update_member,
  tunebase_internal.update_notification_channel,
  tunebase_internal.update_project,
  tunebase_internal.update_webhook_endpoint
to tunebase_api;

grant execute on function
  tunebase_internal.claim_attempt,
  tunebase_internal.finish_attempt,
  tunebase_internal.get_worker_directive,
  tunebase_internal.invalidate_verified_file,
  tunebase_internal.record_progress,
  tunebase_internal.record_verified_file,
  tunebase_internal.schedule_reconcile
to tunebase_callback;

grant execute on function
  tunebase_internal.checkpoint_file_validation,
  tunebase_internal.claim_attempts_to_reconcile,
  tunebase_internal.claim_deliveries,
  tunebase_internal.claim_dispatch,
  tunebase_internal.claim_evaluation_answer,
  tunebase_internal.claim_file_validation,
  tunebase_internal.claim_orphaned_objects,
  tunebase_internal.delete_orphaned_objects,
  tunebase_internal.end_evaluation,
  tunebase_internal.enforce_spend,
  tunebase_internal.expire_files,
  tunebase_internal.expire_inference_requests,
  tunebase_internal.fan_out_events,
  tunebase_internal.finish_file_validation,
  tunebase_internal.invalidate_verified_file,
  tunebase_internal.prune_idempotency_keys,
  tunebase_internal.prune_notifications,
  tunebase_internal.reconcile_attempt,
  tunebase_internal.record_cancel_sent,
  tunebase_internal.record_deliveries,
  tunebase_internal.record_dispatch_ambiguous,
  tunebase_internal.record_dispatch_failed,
  tunebase_internal.record_dispatch_rejected,
  tunebase_internal.record_dispatch_submitted,
  tunebase_internal.record_evaluation_answer,
  tunebase_internal.record_recovered_file,
  tunebase_internal.record_tick,
  tunebase_internal.release_dispatch,
  tunebase_internal.retry_file_validation,
  tunebase_internal.start_file_conversion
to tunebase_scheduler;
