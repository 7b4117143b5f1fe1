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
