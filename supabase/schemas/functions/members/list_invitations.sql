create function tunebase_internal.list_invitations(p_caller jsonb, p_project_id uuid) returns jsonb
language plpgsql security definer set search_path = ''
as $$
begin
  perform tunebase_internal.authorize_project(p_caller, p_project_id, 'project:admin');
  return coalesce((
    select jsonb_agg(to_jsonb(i) order by i.id desc) from tunebase_internal.invitations i
    where i.project_id = p_project_id and i.expires_at > now()
  ), '[]');
end $$;
