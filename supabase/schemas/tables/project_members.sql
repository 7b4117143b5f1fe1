create table tunebase.project_members (
  project_id uuid not null references tunebase.projects on delete cascade,
  user_id uuid not null references auth.users on delete cascade,
  role text not null check (role in ('owner', 'developer', 'viewer')),
  created_at timestamptz not null default now(),
  primary key (project_id, user_id)
);
create index project_members_user on tunebase.project_members (user_id, created_at);

alter table tunebase.project_members enable row level security;
create policy members_read on tunebase.project_members for select to authenticated
using (project_id in (select tunebase_internal.member_project_ids()));

comment on table tunebase.project_members is 'Who belongs to a project, in which role.';
