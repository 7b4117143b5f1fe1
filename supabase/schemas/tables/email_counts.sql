-- Emails per address and hour, to protect the address and the operator's domain. By address instead of by channel, because a
-- channel can be deleted and created again.
create table tunebase_internal.email_counts (
  address text not null,
  hour timestamptz not null,
  mails integer not null default 0,
  tests integer not null default 0,
  primary key (address, hour)
);

alter table tunebase_internal.email_counts enable row level security;

comment on table tunebase_internal.email_counts is 'The number of emails per address and hour.';
