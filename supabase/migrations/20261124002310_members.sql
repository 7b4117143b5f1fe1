-- Who belongs to a project. Owners invite, change roles and remove; everybody may leave, but for the last owner.

create function tunebase.list_members(p_caller jsonb, p_project_id uuid, p_after uuid, p_limit integer) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_since timestamptz;
  v_rows jsonb;
begin
  perform tunebase.authorize_project(p_caller, p_project_id, 'project:read');
  if p_after is not null then
    select created_at into v_since from public.project_members where project_id = p_project_id and user_id = p_after;
    if not found then
      perform tunebase.refuse('cursor_not_found');
    end if;
  end if;
  select jsonb_agg(to_jsonb(x) order by x.created_at, x.user_id) into v_rows from (
    select m.*, u.email from public.project_members m
    join auth.users u on u.id = m.user_id
    where m.project_id = p_project_id and (v_since is null or (m.created_at, m.user_id) > (v_since, p_after))
    order by m.created_at, m.user_id limit p_limit + 1
  ) x;
  return tunebase.page(v_rows, p_limit);
end $$;

-- Asks somebody to join. The answer is the same whether or not the address is known here. Again: the new role, and
-- fourteen days from now.
create function tunebase.invite_member(p_caller jsonb, p_project_id uuid, p_email text, p_role text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_invitation tunebase.invitations;
  v_pending integer;
begin
  perform tunebase.authorize_project(p_caller, p_project_id, 'project:admin');
  perform from public.projects where id = p_project_id for no key update;
  -- An owner sees who is a member anyway.
  if exists (
    select from public.project_members m join auth.users u on u.id = m.user_id
    where m.project_id = p_project_id and lower(u.email) = lower(p_email)
  ) then
    perform tunebase.refuse('member_exists', jsonb_build_object('email', p_email));
  end if;
  select count(*) into v_pending from tunebase.invitations
  where project_id = p_project_id and expires_at > now() and email <> lower(p_email);
  if v_pending >= 50 then
    perform tunebase.refuse('quota_reached', jsonb_build_object(
      'what', 'invitations that wait', 'limit', 50, 'used', v_pending, 'do', 'Take one back that is not needed.'
    ));
  end if;
  insert into tunebase.invitations as i (project_id, email, role) values (p_project_id, lower(p_email), p_role)
  on conflict (project_id, email) do update
  set role = excluded.role, created_at = now(), expires_at = now() + interval '14 days'
  returning * into v_invitation;
  return to_jsonb(v_invitation);
end $$;

create function tunebase.list_invitations(p_caller jsonb, p_project_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
begin
  perform tunebase.authorize_project(p_caller, p_project_id, 'project:admin');
  return coalesce((
    select jsonb_agg(to_jsonb(i) order by i.id desc) from tunebase.invitations i
    where i.project_id = p_project_id and i.expires_at > now()
  ), '[]');
end $$;

create function tunebase.delete_invitation(p_caller jsonb, p_project_id uuid, p_id uuid) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  perform tunebase.authorize_project(p_caller, p_project_id, 'project:admin');
  delete from tunebase.invitations where id = p_id and project_id = p_project_id;
  if not found then
    perform tunebase.refuse('invitation_not_found');
  end if;
end $$;

-- The invitations of whoever has proved to own the address they were sent to.
create function tunebase.my_invitations(p_caller jsonb) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select coalesce(jsonb_agg(to_jsonb(i) || jsonb_build_object('project_name', p.name) order by i.id desc), '[]')
  from auth.users u
  join tunebase.invitations i on i.email = lower(u.email) and i.expires_at > now()
  join public.projects p on p.id = i.project_id
  where u.id = (p_caller ->> 'user_id')::uuid and u.email_confirmed_at is not null
$$;

-- Accepts or declines; either way the invitation is gone. Returns it.
create function tunebase.answer_invitation(p_caller jsonb, p_id uuid, p_accept boolean) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_user_id uuid := tunebase.calling_user(p_caller);
  v_invitation tunebase.invitations;
begin
  delete from tunebase.invitations i using auth.users u
  where i.id = p_id and i.expires_at > now()
    and u.id = v_user_id and u.email_confirmed_at is not null and lower(u.email) = i.email
  returning i.* into v_invitation;
  if not found then
    perform tunebase.refuse('invitation_not_found');
  end if;
  if p_accept then
    insert into public.project_members (project_id, user_id, role)
    values (v_invitation.project_id, v_user_id, v_invitation.role)
    on conflict do nothing;
  end if;
  return to_jsonb(v_invitation);
end $$;

-- Locks a project's members and checks that one of them is there; refuses with member_not_found, or with last_owner when
-- this change would leave the project without one.
create function tunebase.lock_member(p_project_id uuid, p_user_id uuid, p_new_role text) returns void
language plpgsql set search_path = ''
as $$
declare
  v_role text;
begin
  -- The project's row stands for its members: two owners who leave at once wait for each other here.
  perform from public.projects where id = p_project_id for no key update;
  select role into v_role from public.project_members where project_id = p_project_id and user_id = p_user_id;
  if not found then
    perform tunebase.refuse('member_not_found');
  end if;
  if v_role = 'owner' and p_new_role is distinct from 'owner' and not exists (
    select from public.project_members
    where project_id = p_project_id and user_id <> p_user_id and role = 'owner'
  ) then
    perform tunebase.refuse('last_owner');
  end if;
end $$;

create function tunebase.update_member(p_caller jsonb, p_project_id uuid, p_user_id uuid, p_role text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
begin
  perform tunebase.authorize_project(p_caller, p_project_id, 'project:admin');
  perform tunebase.lock_member(p_project_id, p_user_id, p_role);
  update public.project_members set role = p_role where project_id = p_project_id and user_id = p_user_id;
  return (
    select to_jsonb(m) || jsonb_build_object('email', u.email)
    from public.project_members m join auth.users u on u.id = m.user_id
    where m.project_id = p_project_id and m.user_id = p_user_id
  );
end $$;

-- Removes a member, or oneself. Keys that they made stay: those belong to the project.
create function tunebase.remove_member(p_caller jsonb, p_project_id uuid, p_user_id uuid) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  perform tunebase.authorize_project(
    p_caller, p_project_id,
    case when (p_caller ->> 'user_id')::uuid = p_user_id then 'project:read' else 'project:admin' end
  );
  perform tunebase.lock_member(p_project_id, p_user_id, null);
  delete from public.project_members where project_id = p_project_id and user_id = p_user_id;
end $$;

revoke execute on all functions in schema tunebase from public;
grant execute on function
  tunebase.list_members(jsonb, uuid, uuid, integer),
  tunebase.invite_member(jsonb, uuid, text, text),
  tunebase.list_invitations(jsonb, uuid),
  tunebase.delete_invitation(jsonb, uuid, uuid),
  tunebase.my_invitations(jsonb),
  tunebase.answer_invitation(jsonb, uuid, boolean),
  tunebase.update_member(jsonb, uuid, uuid, text),
  tunebase.remove_member(jsonb, uuid, uuid)
to tunebase_api;
