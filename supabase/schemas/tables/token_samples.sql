create table tunebase_internal.token_samples (
  file_id uuid not null references tunebase.files on delete cascade,
  counter text not null,
  sample jsonb not null,
  created_at timestamptz not null default now(),
  primary key (file_id, counter)
);

alter table tunebase_internal.token_samples enable row level security;

comment on table tunebase_internal.token_samples is 'Token counts of a file''s rows, per tokenizer (or ''characters'').';
