create table tunebase_internal.file_validations (
  file_id uuid primary key references tunebase.files on delete cascade,
  -- Where the bytes lie, in their order: [{object, bytes}] in the bucket `tunebase-datasets`.
  sources jsonb not null check (jsonb_array_length(sources) > 0),
  -- Several sources are copied into the file's one object by a resumable upload, whose address this is once it was begun.
  is_copied boolean not null,
  upload_url text,
  -- What the client says the MD5 is.
  md5 text check (md5 ~ '^[0-9a-f]{32}$'),
  -- How far it is; the scheduler's own (scheduler/validate.ts).
  state jsonb,
  -- Who is at it. A new lease makes the old one's writes void.
  lease uuid,
  -- When it may be taken (again).
  next_at timestamptz not null default now(),
  -- Failures since it last came on.
  failures integer not null default 0
);
create index file_checks_next on tunebase_internal.file_validations (next_at);

alter table tunebase_internal.file_validations enable row level security;
