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
