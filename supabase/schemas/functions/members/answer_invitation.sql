-- Accepts or declines an invitation, deletes it and returns it. Only a user who has confirmed the address can answer, and a
-- user who accepts ownership must not already own the maximum of projects.
create function tunebase_internal.answer_invitation(p_caller jsonb, p_id uuid, p_accept boolean) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_user_id uuid := tunebase_internal.require_user_id(p_caller);
  v_invitation tunebase_internal.invitations;
begin
  delete from tunebase_internal.invitations i using auth.users u
  where i.id = p_id and i.expires_at > now()
    and u.id = v_user_id and u.email_confirmed_at is not null and lower(u.email) = i.email
  returning i.* into v_invitation;
  if not found then
    perform tunebase_internal.raise_api_error('invitation_not_found');
  end if;
  if p_accept then
    if v_invitation.role = 'owner' then
      perform tunebase_internal.require_project_room(v_user_id);
    end if;
    insert into tunebase.project_members (project_id, user_id, role)
    values (v_invitation.project_id, v_user_id, v_invitation.role)
    on conflict do nothing;
  end if;
  return to_jsonb(v_invitation);
end $$;
