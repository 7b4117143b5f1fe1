create table tunebase_internal.orphaned_objects (
  bucket text not null,
  object text not null,
  next_at timestamptz not null default now(),
  primary key (bucket, object)
);
create index orphaned_objects_next on tunebase_internal.orphaned_objects (next_at);

alter table tunebase_internal.orphaned_objects enable row level security;

comment on table tunebase_internal.orphaned_objects is 'Storage objects to delete. The scheduler retries until Storage confirms.';
