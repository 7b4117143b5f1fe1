create table tunebase.notification_reads (
  notification_id uuid not null references tunebase.notifications on delete cascade,
  user_id uuid not null references auth.users on delete cascade,
  read_at timestamptz not null default now(),
  primary key (notification_id, user_id)
);
create index notification_reads_user on tunebase.notification_reads (user_id);

alter table tunebase.notification_reads enable row level security;
-- Only the user can see what they have read.
create policy own_read on tunebase.notification_reads for select to authenticated
using (user_id = (select auth.uid()));

comment on table tunebase.notification_reads is 'Which user has read which notification.';
