-- POST requests of the last day, so that a repeated request is not executed again. There are two kinds of rows:
--
-- A request that must not happen twice (a job costs money) is recorded in the transaction that creates its resource
-- (record_created_resource), with or without an Idempotency-Key.
-- Any other request with an Idempotency-Key is reserved while it runs (locked_until), and then stored with its response. The
-- response is encrypted with the key itself, because it can contain a secret that is shown once; the key is stored as a hash.
create table tunebase_internal.idempotency_keys (
  id uuid primary key default tunebase_internal.uuid7(),
  -- The hash of an API key, or a user's id.
  subject text not null,
  -- null: the request had no Idempotency-Key.
  key_hash text check (key_hash ~ '^[0-9a-f]{64}$'),
  -- null while a form is being received, because its body is hashed as it is read.
  request_hash text check (request_hash ~ '^[0-9a-f]{64}$'),
  -- After this time, a reservation without a response belongs to a dead isolate.
  locked_until timestamptz,
  answer text,
  -- What the request created.
  resource_id uuid,
  -- Created by a retry: the original request may still arrive.
  created_by_retry boolean not null default false,
  created_at timestamptz not null default now(),
  check ((locked_until is null) = (resource_id is not null)),
  check (key_hash is not null or resource_id is not null)
);
create unique index idempotency_keys_key on tunebase_internal.idempotency_keys (subject, key_hash) where key_hash is not null;
create index idempotency_keys_request on tunebase_internal.idempotency_keys (subject, request_hash, created_at desc)
where key_hash is null;
create index idempotency_keys_created_by_retry on tunebase_internal.idempotency_keys (subject, request_hash) where created_by_retry;
create index idempotency_keys_created on tunebase_internal.idempotency_keys (created_at);

alter table tunebase_internal.idempotency_keys enable row level security;
