create table tunebase_internal.file_row_hashes (
  file_id uuid primary key references tunebase.files on delete cascade,
  threshold bigint not null check (threshold between 1 and 9007199254740992),
  hashes bigint[] not null
);

alter table tunebase_internal.file_row_hashes enable row level security;

comment on table tunebase_internal.file_row_hashes is 'Hashes of a file''s rows, to compare files: all below the threshold (2^53 means all).';
