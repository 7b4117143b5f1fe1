-- POST requests of the last day, so that a request that is sent again is not carried out again. Two kinds of rows:
--
-- A request that creates what must not be created twice (a job costs money) is recorded with it, in one transaction
-- (record_created_resource); with an Idempotency-Key or without.
-- Any other request with an Idempotency-Key is reserved while it runs (locked_until) and then kept with its answer. The
-- answer is encrypted with the key itself, because it can hold a secret that is shown once; the key is kept as a hash.
create table tunebase_internal.idempotency_keys (
  id uuid primary key default tunebase_internal.uuid7(),
  -- The hash of an API key, or a user's id.
  subject text not null,
  -- null: the request had no Idempotency-Key.
  key_hash text check (key_hash ~ '^[0-9a-f]{64}$'),
  -- null while a form streams in, because its body is hashed as it is read.
  request_hash text check (request_hash ~ '^[0-9a-f]{64}$'),
  -- A reservation without an answer at that time belongs to a dead isolate.
  locked_until timestamptz,
  answer text,
  -- What the request created.
  resource_id uuid,
  -- A retry created it, and the request that it repeats may still arrive.
  created_by_retry boolean not null default false,
  created_at timestamptz not null default now(),
  check ((locked_until is null) = (resource_id is not null)),
  check (key_hash is not null or resource_id is not null)
);
create unique index idempotency_keys_key on tunebase_internal.idempotency_keys (subject, key_hash) where key_hash is not null;
create index idempotency_keys_request on tunebase_internal.idempotency_keys (subject, request_hash, created_at desc)
where key_hash is null;
create index idempotency_keys_overtaken on tunebase_internal.idempotency_keys (subject, request_hash) where created_by_retry;
create index idempotency_keys_created on tunebase_internal.idempotency_keys (created_at);

alter table tunebase_internal.idempotency_keys enable row level security;
