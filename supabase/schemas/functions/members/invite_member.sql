-- Invites a user by email address. The result does not reveal whether the address has an account. Inviting an address again
-- updates the role and extends the invitation.
create function tunebase_internal.invite_member(p_caller jsonb, p_project_id uuid, p_email text, p_role text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_invitation tunebase_internal.invitations;
  v_pending integer;
begin
  perform tunebase_internal.authorize_project(p_caller, p_project_id, 'project:admin');
  perform from tunebase.projects where id = p_project_id for no key update;
  -- Owners can see the members anyway.
  if exists (
    select from tunebase.project_members m join auth.users u on u.id = m.user_id
    where m.project_id = p_project_id and lower(u.email) = lower(p_email)
  ) then
    perform tunebase_internal.raise_api_error('member_exists', jsonb_build_object('email', p_email));
  end if;
  select count(*) into v_pending from tunebase_internal.invitations
  where project_id = p_project_id and expires_at > now() and email <> lower(p_email);
  if v_pending >= 50 then
    perform tunebase_internal.raise_api_error('quota_exceeded', jsonb_build_object(
      'what', 'pending invitations per project', 'limit', 50, 'used', v_pending, 'fix', 'Revoke one and try again.'
    ));
  end if;
  insert into tunebase_internal.invitations as i (project_id, email, role) values (p_project_id, lower(p_email), p_role)
  on conflict (project_id, email) do update
  set role = excluded.role, created_at = now(), expires_at = now() + interval '14 days'
  returning * into v_invitation;
  return to_jsonb(v_invitation);
end $$;
