create table tunebase_internal.upload_parts (
  id uuid primary key,
  upload_id uuid not null references tunebase_internal.uploads on delete cascade,
  object text not null unique,
  -- null until the part is complete in Storage. The row is inserted first, so that every object has a record.
  bytes bigint check (bytes >= 0),
  created_at timestamptz not null default now()
);
create index upload_parts_upload on tunebase_internal.upload_parts (upload_id);

alter table tunebase_internal.upload_parts enable row level security;

comment on table tunebase_internal.upload_parts is 'Parts of an upload.';
