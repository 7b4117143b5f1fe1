-- Objects in Storage that nobody needs any more. Removed by the scheduler, again and again until Storage has done it.
create table tunebase_internal.orphaned_objects (
  bucket text not null,
  object text not null,
  next_at timestamptz not null default now(),
  primary key (bucket, object)
);
create index garbage_next on tunebase_internal.orphaned_objects (next_at);

alter table tunebase_internal.orphaned_objects enable row level security;
