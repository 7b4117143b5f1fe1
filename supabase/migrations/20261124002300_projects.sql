-- What people do with projects, their members and invitations. Every function takes the caller and checks for itself.

-- Every scope there is. A key holds some; a role allows some (role_allows).
create function tunebase.scopes() returns text[]
language sql immutable set search_path = ''
as $$
  select array[
    'files:read', 'files:write', 'jobs:read', 'jobs:write', 'models:read', 'webhooks:read', 'webhooks:write',
    'project:read', 'project:admin'
  ]
$$;
alter table public.api_keys drop constraint api_keys_scopes_check;
alter table public.api_keys add constraint api_keys_scopes_check
check (scopes <@ tunebase.scopes() and cardinality(scopes) > 0);

-- Who was asked to join a project. A member only once they accept: nobody learns from it whether an address is known here.
create table tunebase.invitations (
  id uuid primary key default tunebase.uuid7(),
  project_id uuid not null references public.projects on delete cascade,
  email text not null check (email = lower(email) and char_length(email) between 3 and 254),
  role text not null check (role in ('owner', 'developer', 'viewer')),
  created_at timestamptz not null default now(),
  expires_at timestamptz not null default now() + interval '14 days',
  unique (project_id, email)
);
create index invitations_email on tunebase.invitations (email);
alter table tunebase.invitations enable row level security;

-- The project of a path, if the caller may use it with this scope: a key its own, a user any they are a member of.
create function tunebase.authorize_project(p_caller jsonb, p_project_id uuid, p_scope text) returns uuid
language plpgsql security definer set search_path = ''
as $$
begin
  if p_caller ? 'key_hash' then
    if tunebase.authorize(p_caller, p_scope) <> p_project_id then
      perform tunebase.refuse('project_not_found');
    end if;
    return p_project_id;
  end if;
  return tunebase.authorize(p_caller || jsonb_build_object('project_id', p_project_id), p_scope);
end $$;

-- The user who calls. An API key is nobody: refused with user_token_required.
create function tunebase.calling_user(p_caller jsonb) returns uuid
language plpgsql stable set search_path = ''
as $$
begin
  if p_caller ->> 'user_id' is null then
    perform tunebase.refuse('user_token_required');
  end if;
  return (p_caller ->> 'user_id')::uuid;
end $$;

create function tunebase.project_json(p_project public.projects, p_role text) returns jsonb
language sql stable set search_path = ''
as $$
  select to_jsonb(p_project) - 'budget_warned_month' || jsonb_build_object('role', p_role)
$$;

-- The caller's projects, newest first.
create function tunebase.list_projects(p_caller jsonb, p_after uuid, p_limit integer, p_archived boolean) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_key_project uuid;
  v_rows jsonb;
begin
  if p_caller ? 'key_hash' then
    v_key_project := tunebase.authorize(p_caller, 'project:read');
  end if;
  select jsonb_agg(tunebase.project_json(x.project, x.role) order by (x.project).id desc) into v_rows from (
    select p as project, m.role from public.projects p
    left join public.project_members m on m.project_id = p.id and m.user_id = (p_caller ->> 'user_id')::uuid
    where p.id in (
        select v_key_project where v_key_project is not null
        union all
        select o.project_id from public.project_members o where o.user_id = (p_caller ->> 'user_id')::uuid
      )
      and (p_archived or p.archived_at is null)
      and (p_after is null or p.id < p_after)
    order by p.id desc limit p_limit + 1
  ) x;
  return tunebase.page(v_rows, p_limit);
end $$;

-- A new project with its maker as owner. Twenty a person: limits are a project's, and must mean something.
create function tunebase.create_project(p_caller jsonb, p_name text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_user_id uuid := tunebase.calling_user(p_caller);
  v_project public.projects;
  v_owned integer;
  v_id uuid := tunebase.uuid7();
begin
  -- One at a time for each person, so that the count is true.
  perform pg_advisory_xact_lock(hashtextextended('tunebase projects ' || v_user_id, 0));
  select count(*) into v_owned
  from public.project_members m join public.projects p on p.id = m.project_id
  where m.user_id = v_user_id and m.role = 'owner' and p.archived_at is null;
  if v_owned >= 20 then
    perform tunebase.refuse('quota_reached', jsonb_build_object(
      'what', 'projects that a person owns', 'limit', 20, 'used', v_owned, 'do', 'Archive one that is not needed.'
    ));
  end if;
  insert into public.projects (id, name, slug)
  values (v_id, p_name, 'p-' || right(replace(v_id::text, '-', ''), 10))
  returning * into v_project;
  insert into public.project_members (project_id, user_id, role) values (v_id, v_user_id, 'owner');
  return tunebase.project_json(v_project, 'owner');
end $$;

create function tunebase.get_project(p_caller jsonb, p_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_id uuid := tunebase.authorize_project(p_caller, p_id, 'project:read');
  v_project public.projects;
  v_role text;
begin
  select * into strict v_project from public.projects where id = v_id;
  select role into v_role from public.project_members
  where project_id = v_id and user_id = (p_caller ->> 'user_id')::uuid;
  return tunebase.project_json(v_project, v_role) || jsonb_build_object('use', tunebase.project_use(v_id));
end $$;

-- p_changes: any of {name, max_running, spend_cap_usd}; what is absent stays, and a cap of null is none.
create function tunebase.update_project(p_caller jsonb, p_id uuid, p_changes jsonb) returns jsonb
language plpgsql security definer set search_path = ''
as $$
begin
  perform tunebase.authorize_project(p_caller, p_id, 'project:admin');
  update public.projects
  set name = coalesce(p_changes ->> 'name', name),
    max_running = coalesce((p_changes ->> 'max_running')::integer, max_running),
    spend_cap_usd = case when p_changes ? 'spend_cap_usd' then (p_changes ->> 'spend_cap_usd')::numeric else spend_cap_usd end,
    -- Another cap is warned of anew.
    budget_warned_month = case when p_changes ? 'spend_cap_usd' then null else budget_warned_month end
  where id = p_id;
  return tunebase.get_project(p_caller, p_id);
end $$;

-- Puts a project away, or takes it back. Refused while a job of it has not ended.
create function tunebase.archive_project(p_caller jsonb, p_id uuid, p_archived boolean) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_open integer;
begin
  perform tunebase.authorize_project(p_caller, p_id, 'project:admin');
  -- A job that is being created holds a share of this lock (its foreign key), and is counted after it.
  perform from public.projects where id = p_id for update;
  if p_archived then
    select count(*) into v_open from public.jobs
    where project_id = p_id and status in ('validating_files', 'queued', 'running', 'paused');
    if v_open > 0 then
      perform tunebase.refuse('project_busy', jsonb_build_object('jobs', v_open));
    end if;
  end if;
  update public.projects set archived_at = case when p_archived then now() end
  where id = p_id and (archived_at is not null) <> p_archived;
  return tunebase.get_project(p_caller, p_id);
end $$;

revoke execute on all functions in schema tunebase from public;
grant execute on function
  tunebase.list_projects(jsonb, uuid, integer, boolean),
  tunebase.create_project(jsonb, text),
  tunebase.get_project(jsonb, uuid),
  tunebase.update_project(jsonb, uuid, jsonb),
  tunebase.archive_project(jsonb, uuid, boolean)
to tunebase_api;
