create function tunebase_internal.delete_invitation(p_caller jsonb, p_project_id uuid, p_id uuid) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  perform tunebase_internal.authorize_project(p_caller, p_project_id, 'project:admin');
  delete from tunebase_internal.invitations where id = p_id and project_id = p_project_id;
  if not found then
    perform tunebase_internal.raise_api_error('invitation_not_found');
  end if;
end $$;
