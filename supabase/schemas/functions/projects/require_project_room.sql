-- Raises quota_exceeded if this user owns the maximum number of projects. Every way to become an owner calls it, and archived
-- projects count, so that no combination of archive, create, restore and invite exceeds the limit.
create function tunebase_internal.require_project_room(p_user_id uuid) returns void
language plpgsql set search_path = ''
as $$
declare
  v_limit integer;
  v_owned integer;
begin
  -- One at a time per user, so that the count is exact.
  perform pg_advisory_xact_lock(hashtextextended('tunebase projects ' || p_user_id, 0));
  select max_projects_per_owner into strict v_limit from tunebase_internal.settings;
  select count(*) into v_owned from tunebase.project_members where user_id = p_user_id and role = 'owner';
  if v_owned >= v_limit then
    perform tunebase_internal.raise_api_error('quota_exceeded', jsonb_build_object(
      'what', 'projects per owner, archived ones included', 'limit', v_limit, 'used', v_owned,
      'fix', 'Restore an archived project and use it, or ask the operator to raise max_projects_per_owner.'
    ));
  end if;
end $$;
