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
