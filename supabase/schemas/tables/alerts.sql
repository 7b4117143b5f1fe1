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
