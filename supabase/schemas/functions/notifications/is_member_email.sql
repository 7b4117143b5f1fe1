-- Whether an address is the confirmed e-mail address of a member of the project. Mail goes to no other address: nobody can
-- have the operator's domain write to a stranger.
create function tunebase_internal.is_member_email(p_project_id uuid, p_address text) returns boolean
language sql stable set search_path = ''
as $$
  select exists (
    select from tunebase.project_members m join auth.users u on u.id = m.user_id
    where m.project_id = p_project_id and lower(u.email) = lower(p_address) and u.email_confirmed_at is not null
  )
$$;
