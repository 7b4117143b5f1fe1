create table tunebase.inference_usage (
  id uuid primary key default tunebase_internal.uuid7(),
  project_id uuid not null references tunebase.projects on delete cascade,
  -- When the requests began (UTC). Time zone offsets are multiples of 15 minutes, so days can be summed in any time zone.
  quarter_hour timestamptz not null,
  model text not null,
  -- null: signed-in users.
  api_key_id uuid,
  requests integer not null,
  prompt_tokens bigint not null,
  completion_tokens bigint not null,
  seconds numeric(14, 3) not null,
  cost_usd numeric(14, 9) not null,
  unique nulls not distinct (project_id, quarter_hour, model, api_key_id)
);
-- For get_installation_metrics.
create index inference_usage_quarter_hour on tunebase.inference_usage (quarter_hour);

alter table tunebase.inference_usage enable row level security;
create policy members_read on tunebase.inference_usage for select to authenticated
using (project_id in (select tunebase_internal.member_project_ids()));

comment on table tunebase.inference_usage is 'Usage by finished requests, per 15 minutes, model and API key. Kept after the requests themselves expire.';
