create unlogged table tunebase_internal.scheduler_ticks (
  one_row boolean primary key default true check (one_row),
  ticks bigint not null,
  seconds double precision not null,
  last_tick_at timestamptz not null
);

alter table tunebase_internal.scheduler_ticks enable row level security;

comment on table tunebase_internal.scheduler_ticks is 'Finished ticks, for monitoring: one row. Unlogged: a crash resets the counters, which Prometheus expects.';
