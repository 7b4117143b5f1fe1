create unlogged table tunebase_internal.rate_buckets (
  subject uuid primary key,
  tokens double precision not null,
  counted_at timestamptz not null
);

alter table tunebase_internal.rate_buckets enable row level security;

comment on table tunebase_internal.rate_buckets is 'One token bucket per API key or user. Unlogged: a crash refills the buckets.';
