-- One token bucket a key or user. Unlogged: a write a request needs no disk, and a crash that fills every bucket again
-- harms nobody.
create unlogged table tunebase_internal.rate_buckets (
  subject uuid primary key,
  tokens double precision not null,
  counted_at timestamptz not null
);

alter table tunebase_internal.rate_buckets enable row level security;
