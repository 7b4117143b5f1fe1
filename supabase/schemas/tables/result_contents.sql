-- The result file of a job: its metrics as a CSV, made in the transaction in which the job succeeds, so that it is never
-- lost. It lies in the database: a row of 60 bytes a step, compressed, and no second system to write to.
create table tunebase_internal.result_contents (
  file_id uuid primary key references tunebase.files on delete cascade,
  content text not null
);

alter table tunebase_internal.result_contents enable row level security;
