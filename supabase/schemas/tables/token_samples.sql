-- What a sample of a file's rows came to, by a tokenizer (or 'characters'): one row counts for every later estimate.
create table tunebase_internal.token_samples (
  file_id uuid not null references tunebase.files on delete cascade,
  counter text not null,
  sample jsonb not null,
  created_at timestamptz not null default now(),
  primary key (file_id, counter)
);

alter table tunebase_internal.token_samples enable row level security;
