create table tunebase_internal.api_key_hashes (
  hash bytea primary key check (octet_length(hash) = 32),
  api_key_id uuid not null unique references tunebase.api_keys on delete cascade
);

alter table tunebase_internal.api_key_hashes enable row level security;

comment on table tunebase_internal.api_key_hashes is 'SHA-256 of each API key, separate from the row that members can read.';
