create table tunebase_internal.file_validations (
  file_id uuid primary key references tunebase.files on delete cascade,
  -- The parts of the file in order: [{object, bytes}] in the bucket `tunebase-datasets`.
  sources jsonb not null check (jsonb_array_length(sources) > 0),
  -- Several parts are copied into one object by a resumable upload; its URL, once created.
  is_copied boolean not null,
  upload_url text,
  -- Where the canonical rows of a file in another format are written, and how many bytes they have.
  converted_object text,
  converted_bytes bigint,
  -- The MD5 that the client expects.
  md5 text check (md5 ~ '^[0-9a-f]{32}$'),
  -- The validator's state: see tunebase-scheduler/file_validation/validate_files.ts.
  state jsonb,
  -- The holder. A new lease invalidates the writes of the old one.
  lease uuid,
  -- When it may be claimed again.
  next_at timestamptz not null default now(),
  -- Failures since it last made progress.
  failures integer not null default 0
);
create index file_validations_next on tunebase_internal.file_validations (next_at);

alter table tunebase_internal.file_validations enable row level security;

comment on table tunebase_internal.file_validations is 'Unfinished validations, with their position in the file.';
