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
