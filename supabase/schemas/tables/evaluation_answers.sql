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
