create table tunebase.api_keys (
  id uuid primary key default tunebase_internal.uuid7(),
  project_id uuid not null references tunebase.projects on delete cascade,
  name text not null check (char_length(name) between 1 and 100),
  -- Both ends of the key, to recognize it: 'tb_abc…wxyz'.
  hint text not null check (char_length(hint) <= 20),
  scopes text[] not null check (scopes <@ tunebase_internal.scopes() and cardinality(scopes) > 0),
  created_by uuid references auth.users on delete set null,
  version integer not null default 1,
  created_at timestamptz not null default now(),
  last_used_at timestamptz,
  expires_at timestamptz,
  revoked_at timestamptz
);
create index api_keys_created_by on tunebase.api_keys (created_by) where created_by is not null;
create index api_keys_project on tunebase.api_keys (project_id);

alter table tunebase.api_keys enable row level security;
create policy members_read on tunebase.api_keys for select to authenticated
using (project_id in (select tunebase_internal.member_project_ids()));

comment on table tunebase.api_keys is 'API keys of a project. The key itself is shown once and never stored.';
