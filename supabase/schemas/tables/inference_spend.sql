create table tunebase_internal.inference_spend (
  project_id uuid not null references tunebase.projects on delete cascade,
  -- The first day of a calendar month (UTC).
  month date not null,
  cost_usd numeric(14, 9) not null,
  primary key (project_id, month)
);

alter table tunebase_internal.inference_spend enable row level security;

comment on table tunebase_internal.inference_spend is 'The cost of finished inference requests, one row per project and month.';
