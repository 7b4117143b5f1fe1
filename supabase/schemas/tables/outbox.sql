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
