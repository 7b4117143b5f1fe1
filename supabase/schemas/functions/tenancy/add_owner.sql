-- For the operator, who runs it as the database's owner: gives a user a project of their own. Called again for a user who
-- owns a project already, it changes nothing. Returns the project's id.
create function tunebase_internal.add_owner(p_email text, p_name text default null) returns uuid
language plpgsql set search_path = ''
as $$
declare
  v_user_id uuid;
  v_project_id uuid;
begin
  select id into v_user_id from auth.users where lower(email) = lower(p_email);
  if not found then
    raise exception 'No user has the e-mail address %. They must sign up first.', p_email;
  end if;
  -- Two calls at once make one project.
  perform pg_advisory_xact_lock(hashtextextended('tunebase projects ' || v_user_id, 0));
  select m.project_id into v_project_id
  from tunebase.project_members m join tunebase.projects p on p.id = m.project_id
  where m.user_id = v_user_id and m.role = 'owner' and p.archived_at is null
  order by m.created_at limit 1;
  if found then
    return v_project_id;
  end if;
  v_project_id := tunebase_internal.uuid7();
  insert into tunebase.projects (id, name, slug)
  values (
    v_project_id, left(coalesce(p_name, split_part(p_email, '@', 1)), 100),
    -- The random end of the id: unique, and it says nothing about the user.
    'p-' || right(replace(v_project_id::text, '-', ''), 10)
  );
  insert into tunebase.project_members (project_id, user_id, role) values (v_project_id, v_user_id, 'owner');
  return v_project_id;
end $$;
