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
  created_at timestamptz not null default now()
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

-- The project that a caller may use with this scope. A caller is {key_hash: hex} or {user_id, project_id?}: the edge
-- function has proved the key's possession or the token's signature. Refuses with invalid_api_key,
-- insufficient_scope or project_not_found.
create function tunebase.authorize(p_caller jsonb, p_scope text) returns uuid
language plpgsql security definer set search_path = ''
as $$
declare
  v_key public.api_keys;
  v_project_id uuid;
  v_role text;
begin
  if p_caller ? 'key_hash' then
    select k.* into v_key
    from tunebase.api_key_hashes h
    join public.api_keys k on k.id = h.api_key_id
    where h.hash = decode(p_caller ->> 'key_hash', 'hex')
      and k.revoked_at is null
      and (k.expires_at is null or k.expires_at > now());
    if not found then
      perform tunebase.refuse('invalid_api_key');
    end if;
    if not p_scope = any (v_key.scopes) then
      perform tunebase.refuse('insufficient_scope', jsonb_build_object('scope', p_scope));
    end if;
    -- Once a minute is often enough to see that a key is used; a write per request is not.
    if v_key.last_used_at is null or v_key.last_used_at < now() - interval '1 minute' then
      update public.api_keys set last_used_at = now() where id = v_key.id;
    end if;
    return v_key.project_id;
  end if;

  select m.project_id, m.role into v_project_id, v_role
  from public.project_members m
  where m.user_id = (p_caller ->> 'user_id')::uuid
    and (p_caller ->> 'project_id' is null or m.project_id = (p_caller ->> 'project_id')::uuid)
  order by m.created_at, m.project_id
  limit 1;
  if not found then
    perform tunebase.refuse('project_not_found');
  end if;
  if v_role = 'viewer' and p_scope not like '%:read' then
    perform tunebase.refuse('insufficient_scope', jsonb_build_object('scope', p_scope));
  end if;
  return v_project_id;
end $$;
