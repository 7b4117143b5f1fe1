create table tunebase_internal.channel_secrets (
  channel_id uuid primary key references tunebase.notification_channels on delete cascade,
  encrypted_url text not null
);

alter table tunebase_internal.channel_secrets enable row level security;

comment on table tunebase_internal.channel_secrets is 'Slack webhook URLs, encrypted with a key derived from the master key.';
