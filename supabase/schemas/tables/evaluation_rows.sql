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
