-- What is owed to subscribers: triggers write one row an event, in the transaction of what happened. Nothing that goes
-- wrong in here may touch a job.
create table tunebase_internal.outbox (
  -- The event's public id is `evt_` and this.
  id uuid primary key default tunebase_internal.uuid7(),
  project_id uuid not null references tunebase.projects on delete cascade,
  job_id uuid references tunebase.jobs on delete cascade,
  type text not null check (type = any (tunebase_internal.event_types())),
  -- The `data` of the event's body, fixed when it happened.
  data jsonb not null,
  created_at timestamptz not null default now(),
  -- Later only when fanning out has failed.
  due_at timestamptz not null default now(),
  fanned_out_at timestamptz
);
create index outbox_due on tunebase_internal.outbox (due_at) where fanned_out_at is null;
create index outbox_done on tunebase_internal.outbox (fanned_out_at) where fanned_out_at is not null;
create index outbox_project on tunebase_internal.outbox (project_id);
create index outbox_job on tunebase_internal.outbox (job_id, type, created_at);

alter table tunebase_internal.outbox enable row level security;
