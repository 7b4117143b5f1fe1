-- What owners do with API keys, and what a caller may know of itself.

-- Stores a key that the API has just made, by its hash. p_key: {name, scopes, expires_at, hint}.
create function tunebase.make_api_key(p_caller jsonb, p_key jsonb, p_hash text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase.authorize(p_caller, 'project:admin');
  v_key public.api_keys;
  v_used integer;
begin
  perform from public.projects where id = v_project_id for no key update;
  select count(*) into v_used from public.api_keys where project_id = v_project_id and revoked_at is null;
  if v_used >= 100 then
    perform tunebase.refuse('quota_reached', jsonb_build_object(
      'what', 'API keys of a project', 'limit', 100, 'used', v_used, 'do', 'Revoke one that is not needed.'
    ));
  end if;
  insert into public.api_keys (project_id, name, scopes, hint, expires_at, created_by)
  values (
    v_project_id, p_key ->> 'name', array(select jsonb_array_elements_text(p_key -> 'scopes')), p_key ->> 'hint',
    (p_key ->> 'expires_at')::timestamptz, (p_caller ->> 'user_id')::uuid
  )
  returning * into v_key;
  insert into tunebase.api_key_hashes (hash, api_key_id) values (decode(p_hash, 'hex'), v_key.id);
  return to_jsonb(v_key);
end $$;

-- The project's keys, newest first, with those that were revoked.
create function tunebase.list_api_keys(p_caller jsonb, p_after uuid, p_limit integer) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase.authorize(p_caller, 'project:read');
  v_rows jsonb;
begin
  if p_after is not null and not exists (select from public.api_keys where id = p_after and project_id = v_project_id) then
    perform tunebase.refuse('cursor_not_found');
  end if;
  select jsonb_agg(to_jsonb(k) order by k.id desc) into v_rows from (
    select * from public.api_keys
    where project_id = v_project_id and (p_after is null or id < p_after)
    order by id desc limit p_limit + 1
  ) k;
  return tunebase.page(v_rows, p_limit);
end $$;

create function tunebase.get_api_key(p_caller jsonb, p_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase.authorize(p_caller, 'project:read');
  v_key public.api_keys;
begin
  select * into v_key from public.api_keys where id = p_id and project_id = v_project_id;
  if not found then
    perform tunebase.refuse('api_key_not_found');
  end if;
  return to_jsonb(v_key);
end $$;

-- p_changes: any of {name, scopes, expires_at}; what is absent stays, and an expiry of null is none.
create function tunebase.update_api_key(p_caller jsonb, p_id uuid, p_changes jsonb) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase.authorize(p_caller, 'project:admin');
  v_key public.api_keys;
begin
  select * into v_key from public.api_keys where id = p_id and project_id = v_project_id for update;
  if not found then
    perform tunebase.refuse('api_key_not_found');
  elsif v_key.revoked_at is not null then
    perform tunebase.refuse('api_key_revoked');
  end if;
  update public.api_keys
  set name = coalesce(p_changes ->> 'name', name),
    scopes = case when p_changes ? 'scopes' then array(select jsonb_array_elements_text(p_changes -> 'scopes')) else scopes end,
    expires_at = case when p_changes ? 'expires_at' then (p_changes ->> 'expires_at')::timestamptz else expires_at end
  where id = p_id
  returning * into v_key;
  return to_jsonb(v_key);
end $$;

-- From now on the key opens nothing; its row stays, for whoever looks for what it did. Again, it changes nothing.
create function tunebase.revoke_api_key(p_caller jsonb, p_id uuid) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_project_id uuid := tunebase.authorize(p_caller, 'project:admin');
begin
  if not exists (select from public.api_keys where id = p_id and project_id = v_project_id) then
    perform tunebase.refuse('api_key_not_found');
  end if;
  update public.api_keys set revoked_at = now() where id = p_id and revoked_at is null;
  delete from tunebase.api_key_hashes where api_key_id = p_id;
end $$;

-- Who calls, the project they mean, and what they may do there.
create function tunebase.me(p_caller jsonb) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_who record;
  v_project public.projects;
begin
  v_who := tunebase.identify(p_caller);
  select * into v_project from public.projects where id = v_who.project_id;
  return jsonb_build_object(
    'user', (
      select jsonb_build_object('id', u.id, 'email', u.email) from auth.users u where u.id = (p_caller ->> 'user_id')::uuid
    ),
    'api_key', case when (v_who.api_key).id is not null then to_jsonb(v_who.api_key) end,
    'scopes', case
      when (v_who.api_key).id is not null then to_jsonb((v_who.api_key).scopes)
      else coalesce((
        select jsonb_agg(s order by n) from unnest(tunebase.scopes()) with ordinality x (s, n)
        where tunebase.role_allows(v_who.role, s)
      ), '[]')
    end,
    'project', case when v_project.id is not null then
      tunebase.project_json(v_project, v_who.role) || jsonb_build_object('use', tunebase.project_use(v_project.id))
    end,
    'invitations', tunebase.my_invitations(p_caller)
  );
end $$;

revoke execute on all functions in schema tunebase from public;
grant execute on function
  tunebase.make_api_key(jsonb, jsonb, text),
  tunebase.list_api_keys(jsonb, uuid, integer),
  tunebase.get_api_key(jsonb, uuid),
  tunebase.update_api_key(jsonb, uuid, jsonb),
  tunebase.revoke_api_key(jsonb, uuid),
  tunebase.me(jsonb)
to tunebase_api;
