-- Slack's URL, encrypted under a key that is derived from the master key: the database alone opens nothing.
create table tunebase_internal.channel_secrets (
  channel_id uuid primary key references tunebase.notification_channels on delete cascade,
  encrypted_url text not null
);

alter table tunebase_internal.channel_secrets enable row level security;
