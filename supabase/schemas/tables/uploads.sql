create table tunebase_internal.uploads (
  id uuid primary key,
  project_id uuid not null references tunebase.projects on delete cascade,
  -- parts: through the API, one object per part. direct: from the client to Storage, into `object`.
  kind text not null check (kind in ('parts', 'direct')),
  object text check ((kind = 'direct') = (object is not null)),
  filename text not null check (char_length(filename) between 1 and 255),
  purpose text not null check (purpose = 'fine-tune'),
  bytes bigint not null check (bytes > 0),
  mime_type text not null check (char_length(mime_type) <= 255),
  file_expires_after integer check (file_expires_after > 0),
  status text not null default 'pending' check (status in ('pending', 'completed', 'cancelled', 'expired')),
  file_id uuid references tunebase.files on delete set null,
  created_at timestamptz not null default now(),
  expires_at timestamptz not null
);
create index uploads_expiring on tunebase_internal.uploads (expires_at, status);
create index uploads_project on tunebase_internal.uploads (project_id);
create index uploads_file on tunebase_internal.uploads (file_id);

alter table tunebase_internal.uploads enable row level security;

comment on table tunebase_internal.uploads is 'Multipart and direct uploads. Both end as a file that waits for validation.';
