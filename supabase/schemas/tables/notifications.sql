create table tunebase.notifications (
  id uuid primary key default tunebase_internal.uuid7(),
  project_id uuid not null references tunebase.projects on delete cascade,
  event_id uuid not null unique,
  type text not null,
  level text not null check (level in ('info', 'warn', 'error')),
  title text not null,
  text text not null,
  job_id uuid references tunebase.jobs on delete cascade,
  created_at timestamptz not null default now()
);
create index notifications_project on tunebase.notifications (project_id, id desc);
create index notifications_job on tunebase.notifications (job_id);

alter table tunebase.notifications enable row level security;
create policy members_read on tunebase.notifications for select to authenticated
using (project_id in (select tunebase_internal.member_project_ids()));

comment on table tunebase.notifications is 'In-app notifications of a project.';
