-- Projects, their members and API keys, and who a caller is.

create table public.projects (
  id uuid primary key default tunebase.uuid7(),
  name text not null check (char_length(name) between 1 and 100),
  -- Part of a fine-tuned model's name, `ft:<base>:<slug>:…`.
  slug text not null unique check (slug ~ '^[a-z0-9][a-z0-9-]{0,38}$'),
  -- How many attempts of this project may be alive at once.
  max_running integer not null default 4 check (max_running between 0 and 1000),
  -- What may be spent in a calendar month (UTC), and the month in which 80 % of it were passed and told. null: no cap.
  spend_cap_usd numeric(12, 4) check (spend_cap_usd > 0),
  budget_warned_month date,
  -- Quotas, the operator's to set: jobs that have not ended, bytes of datasets and adapters (null: no limit), and
  -- requests a minute of each key and user.
  max_jobs integer default 1000 check (max_jobs >= 0),
  max_storage_bytes bigint default 107374182400 check (max_storage_bytes >= 0),
  requests_per_minute integer not null default 6000 check (requests_per_minute between 1 and 1000000),
  -- Counts its updates, for If-Match.
  version integer not null default 1,
  created_at timestamptz not null default now(),
  -- Put away: it can be read, and nothing new begins in it.
  archived_at timestamptz
);

create table public.project_members (
  project_id uuid not null references public.projects on delete cascade,
  user_id uuid not null references auth.users on delete cascade,
  role text not null check (role in ('owner', 'developer', 'viewer')),
  created_at timestamptz not null default now(),
  primary key (project_id, user_id)
);
create index project_members_user on public.project_members (user_id, created_at);

create table public.api_keys (
  id uuid primary key default tunebase.uuid7(),
  project_id uuid not null references public.projects on delete cascade,
  name text not null check (char_length(name) between 1 and 100),
  -- The key's two ends, to recognise it by: 'tb_abc…wxyz'.
  hint text not null check (char_length(hint) <= 20),
  scopes text[] not null check (
    scopes <@ array[
      'files:read', 'files:write', 'jobs:read', 'jobs:write', 'models:read', 'webhooks:read', 'webhooks:write'
    ]
    and cardinality(scopes) > 0
  ),
  created_by uuid references auth.users on delete set null,
  version integer not null default 1,
  created_at timestamptz not null default now(),
  last_used_at timestamptz,
  expires_at timestamptz,
  revoked_at timestamptz
);
create index api_keys_project on public.api_keys (project_id);

-- The hash lies apart from the row that members may read.
create table tunebase.api_key_hashes (
  hash bytea primary key check (octet_length(hash) = 32),
  api_key_id uuid not null unique references public.api_keys on delete cascade
);

-- The projects of the user whose token the request carries; row-level security stands on it. Security definer, or
-- the policy on project_members would call itself.
create function tunebase.my_projects() returns setof uuid
language sql stable security definer set search_path = ''
as $$
  select project_id
  from public.project_members
  where user_id = (nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')::uuid
$$;

-- A new user gets a project of their own.
create function tunebase.create_own_project() returns trigger
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase.uuid7();
begin
  insert into public.projects (id, name, slug)
  values (
    v_project_id,
    left(coalesce(nullif(split_part(new.email, '@', 1), ''), 'My project'), 100),
    -- The random end of the id: unique, and says nothing of the user.
    'p-' || right(replace(v_project_id::text, '-', ''), 10)
  );
  insert into public.project_members (project_id, user_id, role) values (v_project_id, new.id, 'owner');
  return new;
end $$;

create trigger tunebase_own_project after insert on auth.users
for each row execute function tunebase.create_own_project();

-- Stores a key by its SHA-256 alone; the key itself is shown once, by whoever made it.
create function tunebase.create_api_key(
  p_project_id uuid, p_name text, p_scopes text[], p_hash bytea, p_hint text, p_created_by uuid default null
) returns uuid
language plpgsql security definer set search_path = ''
as $$
declare
  v_id uuid := tunebase.uuid7();
begin
  insert into public.api_keys (id, project_id, name, scopes, hint, created_by)
  values (v_id, p_project_id, p_name, p_scopes, p_hint, p_created_by);
  insert into tunebase.api_key_hashes (hash, api_key_id) values (p_hash, v_id);
  return v_id;
end $$;

-- Who calls, and which project they mean. A caller is {key_hash: hex} or {user_id, project_id?}: the edge function has
-- proved the key's possession or the token's signature. A user who names none means their oldest that is not put away;
-- project_id is null when they are in none. Refuses with invalid_api_key or project_not_found.
create function tunebase.identify(
  p_caller jsonb, out project_id uuid, out archived boolean, out role text, out api_key public.api_keys
)
language plpgsql security definer set search_path = ''
as $$
declare
  v_found record;
begin
  if p_caller ? 'key_hash' then
    select k as api_key, p.archived_at is not null as archived into v_found
    from tunebase.api_key_hashes h
    join public.api_keys k on k.id = h.api_key_id
    join public.projects p on p.id = k.project_id
    where h.hash = decode(p_caller ->> 'key_hash', 'hex')
      and k.revoked_at is null
      and (k.expires_at is null or k.expires_at > now());
    if not found then
      perform tunebase.refuse('invalid_api_key');
    end if;
    api_key := v_found.api_key;
    project_id := api_key.project_id;
    archived := v_found.archived;
    -- Once a minute is often enough to see that a key is used; a write per request is not.
    if api_key.last_used_at is null or api_key.last_used_at < now() - interval '1 minute' then
      update public.api_keys set last_used_at = now() where id = api_key.id;
    end if;
    return;
  end if;

  select m.project_id, m.role, p.archived_at is not null into project_id, role, archived
  from public.project_members m
  join public.projects p on p.id = m.project_id
  where m.user_id = (p_caller ->> 'user_id')::uuid
    and (p_caller ->> 'project_id' is null or m.project_id = (p_caller ->> 'project_id')::uuid)
  order by p.archived_at is not null, m.created_at, m.project_id
  limit 1;
  if project_id is null and p_caller ->> 'project_id' is not null then
    perform tunebase.refuse('project_not_found');
  end if;
end $$;

-- What a role may do: a viewer reads, a developer does everything but manage the project, an owner that too.
create function tunebase.role_allows(p_role text, p_scope text) returns boolean
language sql immutable
return case p_role
  when 'owner' then true
  when 'developer' then p_scope not like '%:admin'
  when 'viewer' then p_scope like '%:read'
  else false
end;

-- The project that a caller may use with this scope. Refuses with invalid_api_key, project_not_found,
-- insufficient_scope, insufficient_role or project_archived. Keeps what If-Match asked for, for next_version.
create function tunebase.authorize(p_caller jsonb, p_scope text) returns uuid
language plpgsql security definer set search_path = ''
as $$
declare
  v_who record;
begin
  v_who := tunebase.identify(p_caller);
  if v_who.project_id is null then
    perform tunebase.refuse('project_not_found');
  elsif v_who.role is null and not p_scope = any ((v_who.api_key).scopes) then
    perform tunebase.refuse('insufficient_scope', jsonb_build_object('scope', p_scope));
  elsif v_who.role is not null and not tunebase.role_allows(v_who.role, p_scope) then
    perform tunebase.refuse('insufficient_role', jsonb_build_object('scope', p_scope, 'role', v_who.role));
  elsif v_who.archived and p_scope not like '%:read' and p_scope not like '%:admin' then
    perform tunebase.refuse('project_archived');
  end if;
  if p_caller ? 'if_match' then
    perform set_config('tunebase.if_match', p_caller ->> 'if_match', true);
  end if;
  return v_who.project_id;
end $$;

-- Counts an update of a row, and refuses it (or a delete) with precondition_failed where If-Match asked for another version. The row is
-- locked, so that of two who edit the same version one is told.
create function tunebase.next_version() returns trigger
language plpgsql set search_path = ''
as $$
declare
  v_wanted text := nullif(current_setting('tunebase.if_match', true), '');
begin
  if v_wanted is not null and not old.version::text = any (string_to_array(v_wanted, ',')) then
    perform tunebase.refuse('precondition_failed');
  end if;
  -- What follows in this transaction is the same edit.
  perform set_config('tunebase.if_match', '', true);
  if tg_op = 'DELETE' then
    return old;
  end if;
  new.version := old.version + 1;
  return new;
end $$;

create trigger next_version before update of name, max_running, spend_cap_usd, archived_at on public.projects
for each row execute function tunebase.next_version();
create trigger next_version before update of name, scopes, expires_at, revoked_at on public.api_keys
for each row execute function tunebase.next_version();
