-- A POST with an Idempotency-Key: reserved while it runs, then with its answer. The key is kept as a hash and the answer
-- encrypted under the key itself: an answer can hold a secret that is shown once.
create table tunebase_internal.idempotency_keys (
  id uuid primary key default tunebase_internal.uuid7(),
  -- Whose: the hash of an API key, or a user's id.
  subject text not null,
  key_hash text not null check (key_hash ~ '^[0-9a-f]{64}$'),
  -- null while it runs, where the body is hashed as it streams by.
  request_hash text check (request_hash ~ '^[0-9a-f]{64}$'),
  -- Whoever runs it has died, if it has no answer by then.
  locked_until timestamptz not null,
  answer text,
  created_at timestamptz not null default now(),
  unique (subject, key_hash)
);
create index requests_created on tunebase_internal.idempotency_keys (created_at);

alter table tunebase_internal.idempotency_keys enable row level security;
