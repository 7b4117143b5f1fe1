-- Identifies the caller and their project. A caller is {key_hash: hex} or {user_id, project_id?}; the edge function has
-- authenticated it. The default project of a user is their oldest active one; project_id is null if they have none. Raises
-- invalid_api_key, invalid_token (tokens outlive deleted users), project_without_members or project_not_found.
create function tunebase_internal.identify(
  p_caller jsonb, out project_id uuid, out archived boolean, out role text, out api_key tunebase.api_keys
)
language plpgsql security definer set search_path = ''
as $$
declare
  v_found record;
begin
  if p_caller ? 'key_hash' then
    select k as api_key, p.archived_at is not null as archived,
      exists (select from tunebase.project_members m where m.project_id = p.id) as has_members
    into v_found
    from tunebase_internal.api_key_hashes h
    join tunebase.api_keys k on k.id = h.api_key_id
    join tunebase.projects p on p.id = k.project_id
    where h.hash = decode(p_caller ->> 'key_hash', 'hex')
      and k.revoked_at is null
      and (k.expires_at is null or k.expires_at > now());
    if not found then
      perform tunebase_internal.raise_api_error('invalid_api_key');
    elsif not v_found.has_members then
      -- Without members, nobody could see what the key does, or revoke it.
      perform tunebase_internal.raise_api_error('project_without_members');
    end if;
    api_key := v_found.api_key;
    project_id := api_key.project_id;
    archived := v_found.archived;
    -- At most once per minute, to avoid a write per request.
    if api_key.last_used_at is null or api_key.last_used_at < now() - interval '1 minute' then
      update tunebase.api_keys set last_used_at = now() where id = api_key.id;
    end if;
    return;
  end if;

  select m.project_id, m.role, p.archived_at is not null into project_id, role, archived
  from tunebase.project_members m
  join tunebase.projects p on p.id = m.project_id
  where m.user_id = (p_caller ->> 'user_id')::uuid
    and (p_caller ->> 'project_id' is null or m.project_id = (p_caller ->> 'project_id')::uuid)
  order by p.archived_at is not null, m.created_at, m.project_id
  limit 1;
  if project_id is null then
    -- Deleting a user deletes their memberships, so only a user without any can be gone.
    perform tunebase_internal.require_existing_user((p_caller ->> 'user_id')::uuid);
    if p_caller ->> 'project_id' is not null then
      perform tunebase_internal.raise_api_error('project_not_found');
    end if;
  end if;
end $$;
