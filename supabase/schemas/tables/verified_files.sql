create table tunebase_internal.verified_files (
  attempt_id uuid not null references tunebase.attempts on delete cascade,
  path text not null,
  bytes bigint not null check (bytes > 0),
  sha256 text not null check (sha256 ~ '^[0-9a-f]{64}$'),
  verified_at timestamptz not null default now(),
  primary key (attempt_id, path)
);

alter table tunebase_internal.verified_files enable row level security;

comment on table tunebase_internal.verified_files is 'Files of an attempt that were read back from Storage with this size and hash.';
