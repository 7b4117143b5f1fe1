create table tunebase_internal.result_contents (
  file_id uuid primary key references tunebase.files on delete cascade,
  content text not null
);

alter table tunebase_internal.result_contents enable row level security;

comment on table tunebase_internal.result_contents is 'Result files: the metrics of a job as CSV, written when the job succeeds.';
