-- Whether an address is the confirmed email address of a project member. Email goes to no other address, so that the
-- operator's domain cannot be used to send email to strangers.
create function tunebase_internal.is_member_email(p_project_id uuid, p_address text) returns boolean
language sql stable set search_path = ''
as $$
  select exists (
    select from tunebase.project_members m join auth.users u on u.id = m.user_id
    where m.project_id = p_project_id and lower(u.email) = lower(p_address) and u.email_confirmed_at is not null
  )
$$;
