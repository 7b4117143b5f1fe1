-- Invitations to join a project. An invitation does not reveal whether its address has an account.
create table tunebase_internal.invitations (
  id uuid primary key default tunebase_internal.uuid7(),
  project_id uuid not null references tunebase.projects on delete cascade,
  email text not null check (email = lower(email) and char_length(email) between 3 and 254),
  role text not null check (role in ('owner', 'developer', 'viewer')),
  created_at timestamptz not null default now(),
  expires_at timestamptz not null default now() + interval '14 days',
  unique (project_id, email)
);
create index invitations_email on tunebase_internal.invitations (email);

alter table tunebase_internal.invitations enable row level security;
