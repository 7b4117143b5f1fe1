-- The invitations to a user's confirmed email address.
create function tunebase_internal.list_user_invitations(p_caller jsonb) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select coalesce(jsonb_agg(to_jsonb(i) || jsonb_build_object('project_name', p.name) order by i.id desc), '[]')
  from auth.users u
  join tunebase_internal.invitations i on i.email = lower(u.email) and i.expires_at > now()
  join tunebase.projects p on p.id = i.project_id
  where u.id = (p_caller ->> 'user_id')::uuid and u.email_confirmed_at is not null
$$;
