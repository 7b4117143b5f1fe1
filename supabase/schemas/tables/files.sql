create table tunebase.files (
  id uuid primary key,
  project_id uuid not null references tunebase.projects on delete cascade,
  filename text not null check (char_length(filename) between 1 and 255),
  purpose text not null check (purpose in ('fine-tune', 'fine-tune-results')),
  bytes bigint not null check (bytes > 0),
  -- null until the whole file has been read.
  sha256 text check (sha256 ~ '^[0-9a-f]{64}$'),
  -- uploaded: waiting for validation or being validated. The other two are final.
  status text not null check (status in ('uploaded', 'processed', 'error')),
  status_details text,
  -- What validation found: `DatasetReport` in _shared/datasets/report.ts.
  report jsonb not null default '{}',
  object text not null,
  -- For a file in another format, which is converted: `object`, `bytes` and `sha256` describe its canonical rows, which are
  -- trained on. These columns describe the uploaded file: its format (such as `alpaca_csv`), its original object, and
  -- `ConversionSummary` in _shared/datasets/convert/conversion.ts.
  source_format text,
  conversion jsonb,
  original_object text,
  original_bytes bigint check (original_bytes > 0),
  original_sha256 text check (original_sha256 ~ '^[0-9a-f]{64}$'),
  created_at timestamptz not null default now(),
  expires_at timestamptz,
  -- The row stays for the jobs that used the file; the bytes are deleted.
  deleted_at timestamptz,
  check (status <> 'processed' or sha256 is not null),
  check (num_nulls(source_format, conversion, original_object, original_bytes, original_sha256) in (0, 5))
);
create index files_project on tunebase.files (project_id, id desc) where deleted_at is null;
create index files_expiring on tunebase.files (expires_at) where expires_at is not null and deleted_at is null;
-- Equal files (same project, purpose and SHA-256) share one object, which is deleted with the last of them.
create index files_object on tunebase.files (object) where deleted_at is null;
create index files_original_object on tunebase.files (original_object) where original_object is not null and deleted_at is null;
create index files_sha256 on tunebase.files (project_id, sha256) where deleted_at is null and status = 'processed';

alter table tunebase.files enable row level security;
create policy members_read on tunebase.files for select to authenticated
using (project_id in (select tunebase_internal.member_project_ids()));

comment on table tunebase.files is 'Files of a project: datasets and results.';
