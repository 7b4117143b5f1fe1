-- A project's usage of its limits: {running, jobs, storage_bytes, spent_usd}. The spending is this month's (UTC), including
-- reservations.
create function tunebase_internal.project_usage(p_project_id uuid) returns jsonb
language sql stable set search_path = ''
as $$
  select jsonb_build_object(
    'running', (select count(*) from tunebase.attempts where project_id = p_project_id and state <> 'ended'),
    'jobs', (
      select count(*) from tunebase.jobs
      where project_id = p_project_id and tunebase_internal.is_open(status)
    ),
    'storage_bytes', tunebase_internal.stored_bytes(p_project_id),
    'spent_usd', tunebase_internal.project_spend(p_project_id)
  )
$$;
