-- For the operator, who runs it as the database's owner: creates a project for a user, unless they already own an active one.
-- Returns the project's id.
create function tunebase_internal.add_owner(p_email text, p_name text default null) returns uuid
language plpgsql set search_path = ''
as $$
declare
  v_user_id uuid := tunebase_internal.find_user(p_email);
  v_project_id uuid;
  v_project tunebase.projects;
begin
  -- Two calls at once create one project.
  perform pg_advisory_xact_lock(hashtextextended('tunebase projects ' || v_user_id, 0));
  v_project_id := tunebase_internal.find_owned_project(v_user_id);
  if v_project_id is null then
    v_project := tunebase_internal.insert_project(
      v_user_id, left(coalesce(nullif(btrim(p_name), ''), split_part(p_email, '@', 1)), 100)
    );
    v_project_id := v_project.id;
  end if;
  return v_project_id;
end $$;
